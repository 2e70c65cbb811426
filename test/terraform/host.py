"""Simulates the host's first boot without a machine. cloud-init's own code writes the user data from the API into a
separate file system (overlays in a mount namespace). The scripts run there against a metadata service, an AWS API, a
certificate server and a PostgreSQL that requires TLS."""
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from checks import Checks, equal, holds
from deployment import ROOT, Deployment
from processes import run
from tools import Tools

OVERLAYS = ("etc", "usr", "var", "opt")
SECRETS = Path("run/scheduler/app")


class Host:
    """A file system like the host's. It keeps its files from one command to the next."""

    def __init__(self, directory: Path):
        self.directory = directory
        for name in (*OVERLAYS, "run"):
            for layer in ("upper", "scratch"):
                (directory / layer / name).mkdir(parents=True, exist_ok=True)
        self.stubs = directory / "stubs"
        self.stubs.mkdir()
        self.calls = directory / "calls"

    def command(self, command: list[str]) -> list[str]:
        """Returns a command that runs the given one in the host's file system."""
        layers = self.directory
        mounts = [
            f"mount -t overlay overlay -o lowerdir=/{name},upperdir={layers}/upper/{name},workdir={layers}/scratch/{name} /{name}"
            for name in OVERLAYS
        ]
        # Two simultaneous mounts of the same layers remove each other's work directory, so that one of them fails.
        one_at_a_time = [f"exec 9>{layers}/mounting", "flock 9"]
        script = " && ".join([*one_at_a_time, *mounts, f"mount --bind {layers}/upper/run /run", 'exec 9>&- "$@"'])
        return ["unshare", "--mount", "--", "bash", "-c", script, "host", *command]

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        path = f"{self.stubs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "CALLS": str(self.calls), **env}

    def run(self, command: list[str], timeout_seconds: int = 60, expect: tuple[int, ...] = (0,), **env: str) -> str:
        return run(self.command(command), timeout_seconds, expect, env=self.environment(env)).stdout

    def path(self, inside: str | Path) -> Path:
        """Returns the real path of a file that was written in the host's file system."""
        return self.directory / "upper" / str(inside).lstrip("/")

    def stub(self, name: str, script: str) -> None:
        path = self.stubs / name
        path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "{name} $*" >>"$CALLS"\n{script}\n')
        path.chmod(0o755)

    def take_calls(self) -> list[str]:
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return calls


def check_user_data(checks: Checks, made: Deployment, tools: Tools) -> Path:
    path = made.directory / "user-data"
    path.write_text(made.user_data())
    checks.check(f"{made.name}: cloud-init's validator accepts the user data", lambda: validate(path, tools))
    compose = made.directory / "host-compose.yaml"
    compose.write_text({file["path"]: file["content"] for file in yaml.safe_load(path.read_text())["write_files"]}["/opt/scheduler/compose.yaml"])
    if tools.compose:
        checks.check(f"{made.name}: Docker Compose accepts the compose file of the host", lambda: compose_is_valid(compose, tools))
    else:
        checks.note("not run: no Docker Compose on this machine to read the host's compose file")
    return path


def validate(path: Path, tools: Tools) -> None:
    output = run([sys.executable, "-m", "cloudinit.cmd.main", "schema", "--config-file", str(path)], 60, env={**os.environ, "PYTHONPATH": tools.cloud_init}).stdout
    holds("Valid cloud-config" in output, output)


def compose_is_valid(compose: Path, tools: Tools) -> None:
    text = run([*tools.compose, "--file", str(compose), "config", "--format", "json"], 60, env={"PATH": os.environ["PATH"], "HOME": str(compose.parent)}).stdout
    services = json.loads(text[text.index("{"):])["services"]
    repository = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    holds(set(services) <= set(repository) - {"postgres"}, f"services: {sorted(services)}")
    equal(services["worker"]["command"], repository["worker"]["command"])


def check_boot(checks: Checks, made: Deployment, user_data: Path, tools: Tools, then: Callable[[Host], None]) -> None:
    """Checks the first boot, then calls `then` with the booted host."""
    host = Host(made.directory / "host")
    if not checks.check("host: cloud-init writes its files with the right modes", lambda: write_files(host, user_data, tools)):
        return
    checks.check("host: systemd accepts the units", lambda: units_are_valid(host))
    checks.check("host: shellcheck finds no problem in the script of the first boot", lambda: run(["shellcheck", str(host.path("usr/local/sbin/scheduler-install"))], 60))
    checks.check("host: the first boot waits for the packages' mirror, then starts the services", lambda: first_boot(host))
    checks.check("host: the first boot gives up if the packages' mirror stays down", lambda: hopeless_boot(host))
    then(host)


def write_files(host: Host, user_data: Path, tools: Tools) -> None:
    program = (
        "import sys, yaml; from cloudinit.config.cc_write_files import write_files; "
        "write_files('write_files', yaml.safe_load(open(sys.argv[1]))['write_files'], 'root:root')"
    )
    host.run([sys.executable, "-c", program, str(user_data)], PYTHONPATH=tools.cloud_init)
    for path, mode in [
        ("etc/scheduler/host.json", 0o644),
        ("opt/scheduler/compose.yaml", 0o644),
        ("usr/local/sbin/scheduler-credentials", 0o755),
        ("usr/local/sbin/scheduler-install", 0o755),
        ("etc/docker/daemon.json", 0o644),
    ]:
        equal(stat.S_IMODE(host.path(path).stat().st_mode), mode)
    logs = json.loads(host.path("etc/docker/daemon.json").read_text())
    equal(logs["log-opts"], {"max-size": "10m", "max-file": "3"})


def units_are_valid(host: Host) -> None:
    # Docker's package would install this unit and this program.
    for path, text in [("usr/bin/docker", "#!/bin/sh\n"), ("usr/lib/systemd/system/docker.service", "[Service]\nExecStart=/usr/bin/docker\n")]:
        if not Path("/" + path).exists():
            host.path(path).parent.mkdir(parents=True, exist_ok=True)
            host.path(path).write_text(text)
            host.path(path).chmod(0o755 if path.endswith("bin/docker") else 0o644)
    units = [f"/etc/systemd/system/{name}" for name in ("scheduler.service", "scheduler-credentials.service", "scheduler-credentials.timer")]
    output = host.run(["systemd-analyze", "verify", "--man=no", *units])
    complaints = [line for line in output.splitlines() if "scheduler" in line]
    equal(complaints, [])


PACKAGES = "docker.io docker-compose-v2 postgresql-client python3-boto3"


def first_boot(host: Host) -> None:
    for name in ("systemctl", "sysctl"):
        host.stub(name, "exit 0")
    host.stub("apt-get", '[ "$1" = update ] || [ "$(grep -c "apt-get install" "$CALLS")" -ge 3 ]')
    host.take_calls()
    host.run(["/usr/local/sbin/scheduler-install"], SCHEDULER_INSTALL_PAUSE="0")
    calls = host.take_calls()
    equal([call for call in calls if call.startswith("apt-get install")], [f"apt-get install --yes --no-install-recommends {PACKAGES}"] * 3)
    equal(
        calls[-3:],
        [
            "systemctl restart systemd-journald",
            "systemctl enable docker.service scheduler-credentials.timer scheduler.service",
            "systemctl start --no-block docker.service scheduler-credentials.timer scheduler.service",
        ],
    )


def hopeless_boot(host: Host) -> None:
    host.stub("apt-get", "exit 100")
    output = host.run(["/usr/local/sbin/scheduler-install"], expect=(1,), SCHEDULER_INSTALL_PAUSE="0", SCHEDULER_INSTALL_TRIES="3")
    holds("gave up on the packages after 3 tries" in output, output)
    holds(not any(call.startswith("systemctl") for call in host.take_calls()), "services were started without their packages")
