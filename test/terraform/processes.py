"""Commands with a timeout, and servers that end with the test."""
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class CommandFailed(Exception):
    pass


def run(command: list[str], timeout_seconds: int, expect: tuple[int, ...] = (0,), **options) -> subprocess.CompletedProcess:
    """Runs a command and returns its output and errors as one text. At the timeout, kills it with its children."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=options.pop("stdin", subprocess.DEVNULL),
        text=True, start_new_session=True, **options,
    )
    try:
        output, _ = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise CommandFailed(f"{command[0]}: killed after {timeout_seconds} s\n{output[-4000:]}") from None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode not in expect:
        raise CommandFailed(f"{' '.join(command)}: exit code {process.returncode}\n{output[-6000:]}")
    return subprocess.CompletedProcess(command, process.returncode, output)


@contextlib.contextmanager
def server(command: list[str], is_ready: Callable[[], bool], log: Path, stop_signal: int = signal.SIGTERM, **options) -> Iterator[int]:
    """Runs a server while the block runs. The server ends with this process in any case, even if it is killed."""
    with log.open("w") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, **options
        )
    try:
        deadline = time.monotonic() + 60
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandFailed(f"{command[0]} did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        if process.poll() is None:
            process.send_signal(stop_signal)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def accepts(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0
