"""Runs the units of the host under a real systemd, in the host's file system. This systemd is the first process of
separate namespaces.

It knows only the host's units and the few of this file, so that it does not affect this machine. Docker and Docker
Compose are stubs that record their calls in /run/calls.
"""
import contextlib
import os
import signal
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import memory_limit
from checks import Checks, equal, holds
from host import Host
from processes import CommandFailed, run, server
from world import NOWHERE, World

PROGRAM = "/lib/systemd/systemd"
UNITS = "usr/lib/systemd/of-test"
CALLS, LOG = "run/calls", "run/scheduler.log"
UP = "docker compose --file /opt/scheduler/compose.yaml up --detach --remove-orphans"
STOP = "docker compose --file /opt/scheduler/compose.yaml stop --timeout 40"
# Docker and the image come late at a first boot. These files exist once they are there.
ENGINE, IMAGE = "run/engine-answers", "run/image-pushed"
TARGETS = ("sysinit", "basic", "timers", "sockets", "network-online", "shutdown")
# Packages from the tests' own Python that the host has from Ubuntu. The host's script runs with the system's Python.
BOTO3 = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")


def check_units(checks: Checks, world: World) -> None:
    group = group_of(world.directory.parents[1].name)
    if group is None or not Path(PROGRAM).exists():
        checks.note("not run: the units under a systemd (no control groups to write to, or no systemd)")
        return
    host = world.host
    write_surroundings(world)
    with booted(world, group) as systemd:
        if not checks.check("systemd: the first boot waits for Docker, the secrets and the image", lambda: first_boot(world, systemd)):
            return
        checks.check("systemd: the secrets are checked every ten minutes, in a sandbox that allows their files to be written", lambda: looked_after(world, systemd))
        checks.check("systemd: the containers keep running while Docker is stopped, updated and started", lambda: engine_is_updated(host, systemd))
        checks.check("systemd: at shutdown of the host, the containers stop before Docker", lambda: shutdown(host, systemd))
    with booted(world, group) as systemd:
        checks.check("systemd: a reboot starts everything again and makes new secrets before it starts the containers", lambda: reboot(world, systemd))
    # Make the secrets again, because the content of /run is gone.
    world.credentials()


class Systemd:
    def __init__(self, host: Host, pid: int):
        self.host = host
        self.pid = pid

    def run(self, *command: str, expect: tuple[int, ...] = (0,)) -> str:
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", "--ipc", "--", *command]
        return run(inside, 60, expect, env={"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}).stdout

    def states(self, *units: str) -> list[str]:
        return self.run("systemctl", "is-active", *units, expect=(0, 3)).split()

    def aws_is_at(self, endpoint: str, world: World) -> None:
        """Sets the environment of the host's services, so that they find the stand-ins of AWS."""
        self.run(
            "systemctl", "set-environment", f"AWS_ENDPOINT_URL={endpoint}", "PYTHONPATH=/opt/boto3",
            f"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{world.address}:{world.metadata_port}", "SSL_CERT_FILE=/etc/web-ca.pem",
        )


def group_of(name: str) -> Path | None:
    """Returns the path for systemd's control group in the hierarchy of version 2; None if it is not writable."""
    for root in (memory_limit.ROOT, memory_limit.ROOT / "unified"):
        if (root / "cgroup.controllers").exists() and os.access(root / "cgroup.procs", os.W_OK):
            return root / f"{name}-systemd"
    return None


def clear(name: str) -> None:
    """Removes the control group of a test that was killed."""
    group = group_of(name)
    if group is not None and group.is_dir():
        memory_limit.remove(group)


@contextlib.contextmanager
def booted(world: World, group: Path) -> Iterator[Systemd]:
    """Boots the host up to multi-user.target. /run is in memory and empty at the start, as after a boot."""
    host = world.host
    memory = str(host.path("run"))
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", memory], 10)
    group.mkdir()
    # The host cannot reach this machine's /tmp, and process 1 sees its own control group as the root.
    inside = f"""
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        mount --bind {host.path("etc/systemd/system")} /etc/systemd/system
        mount --bind {sysconfig.get_path("purelib")} /opt/packages
        mount -t tmpfs tmpfs /tmp
        exec {PROGRAM} --system --unit=multi-user.target --show-status=no --dump-core=no --crash-reboot=no
    """
    script = f"echo $$ >{group}/cgroup.procs && exec unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --mount-proc -- bash -ec '{inside}'"
    env = host.environment({
        "container": "test", "SYSTEMD_LOG_TARGET": "null",
        "SYSTEMD_UNIT_PATH": f"/etc/systemd/system:/{UNITS}", "SYSTEMD_GENERATOR_PATH": "/nowhere", "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/nowhere",
    })
    is_ready = lambda: host.path("run/systemd/private").exists()
    try:
        with server(host.command(["bash", "-c", script]), is_ready, world.directory / "systemd.log", stop_signal=signal.SIGKILL, env=env, cwd="/") as pid:
            first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
            systemd = Systemd(host, int(first))
            until(lambda: systemd.states("multi-user.target") == ["active"], lambda: "systemd does not come up")
            yield systemd
    finally:
        run(["umount", "--lazy", memory], 10)
        memory_limit.remove(group)


def until(holds_now: Callable[[], bool], problem: Callable[[], str], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not holds_now():
        if time.monotonic() > deadline:
            raise CommandFailed(problem())
        time.sleep(0.1)


def write_surroundings(world: World) -> None:
    host = world.host

    def write(path: str, text: str, mode: int = 0o644) -> None:
        host.path(path).parent.mkdir(parents=True, exist_ok=True)
        host.path(path).write_text(text)
        host.path(path).chmod(mode)

    write("etc/web-ca.pem", world.web.certificate)
    for target in TARGETS:
        write(f"{UNITS}/{target}.target", "[Unit]\nDefaultDependencies=no\n")
    write(f"{UNITS}/multi-user.target", "[Unit]\nRequires=basic.target\nWants=timers.target\nAfter=basic.target\n")
    write(f"{UNITS}/systemd-journald.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    # As with the real unit, a failed start counts as failed even though systemd repeats it.
    write(
        f"{UNITS}/docker.service",
        f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/test -e /{ENGINE}\n"
        f"ExecStop=/bin/sh -c 'echo the engine stops >>/{CALLS}'\nRestart=on-failure\nRestartSec=1\n[Install]\nWantedBy=multi-user.target\n",
    )
    # Half a minute between two attempts is too long for a test. The log goes to a file, because there is no journal.
    write(f"{UNITS}/scheduler.service.d/of-test.conf", f"[Service]\nRestartSec=500ms\nStandardOutput=append:/{LOG}\n")
    answers = f'[ "$2" = --file ] && [ -s "$DOCKER_CONFIG/config.json" ] && [ -e /{ENGINE} ] && [ -e /{IMAGE} ]'
    write("usr/bin/docker", f'#!/bin/sh\necho "docker $*" >>/{CALLS}\n[ "$4" = stop ] || {{ {answers}; }}\n', 0o755)
    for name in ("apt-get", "sysctl"):
        write(f"usr/local/sbin/{name}", "#!/bin/sh\n", 0o755)
    for name in ("packages", "boto3"):
        host.path(f"opt/{name}").mkdir(exist_ok=True)
    for name in BOTO3:
        host.path(f"opt/boto3/{name}").symlink_to(f"/opt/packages/{name}")


def calls(host: Host) -> list[str]:
    return lines(host, CALLS)


def lines(host: Host, name: str) -> list[str]:
    path = host.path(name)
    return path.read_text().splitlines() if path.exists() else []


def state(systemd: Systemd) -> str:
    shown = systemd.run("systemctl", "status", "docker.service", "scheduler.service", expect=(0, 3))
    return "\n".join([shown, *calls(systemd.host), *lines(systemd.host, LOG)[-20:]])


def is_up(systemd: Systemd) -> bool:
    return systemd.states("scheduler.service") == ["active"]


def first_boot(world: World, systemd: Systemd) -> None:
    host = world.host
    tries = lambda: int(systemd.run("systemctl", "show", "--value", "--property=NRestarts", "scheduler.service"))
    problem = lambda: state(systemd)
    systemd.aws_is_at(NOWHERE, world)
    systemd.run("scheduler-install")
    until(lambda: tries() >= 2, problem)
    equal(calls(host), [])
    # Now the secrets can be fetched, but Docker does not answer and there is no image.
    systemd.aws_is_at(world.made.endpoint, world)
    until(lambda: UP in calls(host), problem)
    host.path(ENGINE).touch()
    until(lambda: systemd.states("docker.service") == ["active"], problem)
    before = len(calls(host))
    until(lambda: len(calls(host)) > before, problem)
    holds(not is_up(systemd), "the scheduler is up without an image")
    host.path(IMAGE).touch()
    until(lambda: is_up(systemd), problem)
    equal(set(calls(host)), {UP})


def looked_after(world: World, systemd: Systemd) -> None:
    equal(systemd.states("scheduler-credentials.timer"), ["active"])
    rhythm = systemd.run("systemctl", "show", "--value", "--property=TimersMonotonic", "scheduler-credentials.timer")
    holds("OnUnitActiveUSec=10min" in rhythm and "OnBootUSec=10min" in rhythm, rhythm)
    before = world.url()
    world.age("run/scheduler/app/database-url", 8 * 86_400)
    # The service has to write to both directories. The sandbox makes all others read-only.
    systemd.run("rm", "/var/lib/scheduler/rds-ca.pem")
    systemd.run("systemctl", "start", "scheduler-credentials.service")
    until(lambda: systemd.states("scheduler-credentials.service") == ["inactive"], lambda: "it does not end")
    holds(world.url() != before, "the password was not renewed")
    holds(world.host.path("var/lib/scheduler/rds-ca.pem").exists(), "the certificates were not fetched")


def engine_is_updated(host: Host, systemd: Systemd) -> None:
    before = calls(host)
    systemd.run("systemctl", "stop", "docker.service")
    holds(is_up(systemd), "the scheduler went down with the engine")
    systemd.run("systemctl", "start", "docker.service")
    holds(is_up(systemd), "the scheduler did not come back with the engine")
    equal(calls(host)[len(before):], ["the engine stops"])


def shutdown(host: Host, systemd: Systemd) -> None:
    before = calls(host)
    systemd.run("systemctl", "start", "--job-mode=replace-irreversibly", "shutdown.target")
    equal(calls(host)[len(before):], [STOP, "the engine stops"])


def reboot(world: World, systemd: Systemd) -> None:
    host = world.host
    systemd.aws_is_at(world.made.endpoint, world)
    host.path(ENGINE).touch()
    host.path(IMAGE).touch()
    until(lambda: is_up(systemd), lambda: state(systemd))
    equal(systemd.states("docker.service", "scheduler-credentials.timer"), ["active", "active"])
    equal(set(calls(host)), {UP})
    equal(sorted(path.name for path in host.path("run/scheduler/app").iterdir()), ["clients", "database-url", "rds-ca.pem", "redis-url"])
