"""Runs the containers of the host as plain processes, with the commands, environment and memory limits of its compose
file. They run in a group of 900 MiB without swap, as the image's user, with the secrets that the host has made."""
import concurrent.futures
import contextlib
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml

from checks import Checks, equal, holds
from deployment import ROOT
from memory_limit import MemoryLimit, memory_limit
from processes import CommandFailed, accepts, run, server
from world import World

STACK_MIB = 900
CLIENTS = 4
# Tasks per client. Their batch is just below the host's limit of 2 MiB.
TASKS = 1_000
PAYLOAD_BYTES = 1_950
API_PORT = 8000


def check_stack(checks: Checks, world: World) -> None:
    if shutil.which("redis-server") is None:
        checks.note("not run: the stack within its memory limits (no redis-server on this machine)")
        return
    with memory_limit(world.directory.parents[1].name, STACK_MIB) as limit:
        if limit is None:
            checks.note("not run: the stack within its memory limits (no control groups to write to)")
            return
        built = build(world)
        with running(world, limit, built) as groups:
            checks.check(f"stack: {CLIENTS} clients submit a batch of 2 MiB each at once; all tasks complete within {STACK_MIB} MiB, and no process exceeds its limit", lambda: execute(world, limit, groups))
            checks.check("stack: the API asks for a key, and the first client's is one", lambda: asks_for_a_key(world))
            checks.check("stack: the password is rotated during operation, and no process is restarted", lambda: rotate(world, groups))
            report(checks, limit, groups)


def build(world: World) -> Path:
    """Builds what the image runs: the emitted code beside the installed packages."""
    directory = world.directory / "app"
    directory.mkdir()
    node = f"{ROOT}/node_modules/.bin"
    run([f"{node}/tsc", "--project", "tsconfig.build.json", "--outDir", str(directory / "dist"), "--noCheck"], 180, cwd=ROOT, env={**os.environ, "PATH": f"{node}:{os.environ['PATH']}"})
    for path in (ROOT / "src").rglob("*"):
        if path.suffix in (".sql", ".lua"):
            target = directory / "dist" / path.relative_to(ROOT / "src")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copy(ROOT / "package.json", directory)
    (directory / "node_modules").symlink_to(ROOT / "node_modules")
    return directory / "dist" / "main.js"


@contextlib.contextmanager
def running(world: World, limit: MemoryLimit, main: Path) -> Iterator[dict[str, MemoryLimit]]:
    services = yaml.safe_load(world.host.path("opt/scheduler/compose.yaml").read_text())["services"]
    # The containers see the directory at this path.
    mount = world.host.path("run/secrets")
    mount.symlink_to("/run/scheduler/app")
    hosts = world.host.path("etc/hosts")
    hosts.write_text(f"{hosts.read_text()}{world.address} redis\n")
    groups = {name: limit.below(name, int(service["mem_limit"].removesuffix("m"))) for name, service in services.items()}
    with contextlib.ExitStack() as stack:

        def start(name: str, command: list[str], is_ready, **env: str) -> None:
            inside = world.host.command([*as_image_user(), *command])
            environment = world.host.environment({**services[name].get("environment", {}), **env})
            stack.enter_context(server([*groups[name].enter(), *inside], is_ready, log_of(world, name), env={key: str(value) for key, value in environment.items()}, cwd="/"))

        redis = services["redis"]["command"]
        start("redis", [*redis, "--bind", world.address, "--port", "6379", "--dir", "/"], lambda: accepts(world.address, 6379))
        node = str(ROOT / "node_modules" / ".bin" / "node")
        # Use free ports, and no rate limit, because the test submits more tasks than one address may per minute.
        own = {"HOST": world.address, "METRICS_PORT": "0", "RATE_LIMIT_PER_MINUTE": "0"}
        for name, is_ready in {
            "api": lambda: status(world, "/readyz") == 200,
            "worker": lambda: "worker claims" in log_of(world, "worker").read_text(),
            "reclaimer": lambda: "reclaimer started" in log_of(world, "reclaimer").read_text(),
        }.items():
            start(name, [node, str(main), *services[name]["command"]], is_ready, **own)
        yield groups


def log_of(world: World, name: str) -> Path:
    return world.directory / f"{name}.log"


def as_image_user() -> list[str]:
    return ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"]


def status(world: World, path: str, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(f"http://{world.address}:{API_PORT}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def key(world: World) -> dict[str, str]:
    return {"authorization": f"Bearer {world.first_secret()}"}


def asks_for_a_key(world: World) -> None:
    equal([status(world, path) for path in ("/queues", "/metrics", "/clients")], [401, 401, 401])
    equal([status(world, path, key(world)) for path in ("/queues", "/metrics", "/clients")], [200, 200, 200])


def submit(world: World, count: int, seconds: float) -> None:
    tasks = [{"payload": {"text": "x" * PAYLOAD_BYTES}, "execution_time": seconds} for _ in range(count)]
    request = urllib.request.Request(
        f"http://{world.address}:{API_PORT}/tasks/batch", json.dumps({"tasks": tasks}).encode(), {"content-type": "application/json", **key(world)}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        equal(answer.status, 200)


def completed(world: World) -> int:
    return int(world.sql("SELECT count(*) FROM tasks WHERE status = 'COMPLETED'"))


def until_completed(world: World, count: int, groups: dict[str, MemoryLimit]) -> None:
    deadline = time.monotonic() + 150
    while completed(world) < count:
        if time.monotonic() > deadline:
            logs = "\n".join(log_of(world, name).read_text()[-1500:] for name in groups if log_of(world, name).exists())
            raise CommandFailed(f"{completed(world)} of {count} tasks are completed\n{logs}")
        note_use(groups)
        time.sleep(0.3)


highest: dict[str, float] = {}


def note_use(groups: dict[str, MemoryLimit]) -> None:
    for name, group in groups.items():
        highest[name] = max(highest.get(name, 0.0), group.used_mib())


def execute(world: World, limit: MemoryLimit, groups: dict[str, MemoryLimit]) -> None:
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        submissions = [clients.submit(submit, world, TASKS, 0.02) for _ in range(CLIENTS)]
        while not all(submission.done() for submission in submissions):
            note_use(groups)
            time.sleep(0.02)
        for submission in submissions:
            submission.result()
    until_completed(world, CLIENTS * TASKS, groups)
    equal(limit.killed() + sum(group.killed() for group in groups.values()), 0)


def rotate(world: World, groups: dict[str, MemoryLimit]) -> None:
    processes = {name: pids(group) for name, group in groups.items()}
    before = world.url()
    world.age("run/scheduler/app/database-url", 8 * 86_400)
    world.credentials()
    holds(world.url() != before, "the password is the old one")
    old = urllib.parse.urlsplit(before)
    refused(world, old.username, old.password)
    # Like a restart of the database, this forces all processes to log in again.
    world.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'scheduler_app'")
    deadline = time.monotonic() + 30
    while True:
        try:
            submit(world, 20, 0.01)
            break
        except OSError as error:
            holds(time.monotonic() < deadline, f"the API does not come back: {error}")
            time.sleep(0.5)
    until_completed(world, CLIENTS * TASKS + 20, groups)
    equal({name: pids(group) for name, group in groups.items()}, processes)


def refused(world: World, user: str, password: str) -> None:
    try:
        world.sql("SELECT 1", user=user, password=password)
    except CommandFailed as error:
        holds("password authentication failed" in str(error), str(error))
        return
    raise AssertionError("the old password still opens the database")


def pids(group: MemoryLimit) -> list[str]:
    return sorted((group.path / "cgroup.procs").read_text().split())


def report(checks: Checks, limit: MemoryLimit, groups: dict[str, MemoryLimit]) -> None:
    note_use(groups)
    uses = ", ".join(f"{name} {highest[name]:.0f}" for name in groups if highest[name] > 0)
    checks.note(f"       highest use in MiB without page cache: {uses}; together {sum(highest.values()):.0f} of {STACK_MIB}")
