"""Provides the tools that the tests need besides Terraform and Python packages.

    python tools.py fetch     fetches tools that take little time; the tests themselves run without a network
    python tools.py tflint    compiles tflint once for all checkouts of this account, which takes minutes
"""
import fcntl
import lzma
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from processes import CommandFailed, run

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local" / "terraform"
PACKAGES_OF_CLOUD_INIT = LOCAL / "cloud-init" / "usr" / "lib" / "python3" / "dist-packages"
TFLINT = "github.com/terraform-linters/tflint@v0.64.0"
TFLINT_CACHE = Path.home() / ".cache" / "scheduler-tools" / "tflint-0.64.0"
# Locked while tflint is being compiled. Afterwards it contains the error if the compilation failed.
TFLINT_LOCK = LOCAL / "tflint.lock"
MIRROR = LOCAL / "providers"
MIRRORS = [Path("/opt"), Path("/usr/share/terraform"), Path("/usr/local/share/terraform"), Path.home() / ".terraform.d", MIRROR]


@dataclass
class Tools:
    cloud_init: str
    """Directory of cloud-init's Python packages."""
    compose: list[str]
    """Command of Docker Compose; empty if it is not installed."""
    terraform_env: dict[str, str]
    postgres: Path
    """Directory of the programs of PostgreSQL 16."""


def find_tools() -> Tools:
    postgres = Path(os.environ["POSTGRES_BIN"])
    return Tools(cloud_init=str(PACKAGES_OF_CLOUD_INIT), compose=compose(), terraform_env=terraform_env(), postgres=postgres)


def fetch() -> None:
    fetch_cloud_init()
    compose()
    if provider_mirror() is None:
        module = ROOT / "terraform"
        run(["terraform", f"-chdir={module}", "providers", "mirror", str(MIRROR)], 300)


def provider_mirror() -> Path | None:
    """Returns a directory on this machine that contains the provider, or None."""
    return next((found.parents[2] for root in MIRRORS if root.is_dir() for found in root.glob("**/registry.terraform.io/hashicorp/aws")), None)


def terraform_env() -> dict[str, str]:
    configuration = LOCAL / "terraform.rc"
    configuration.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{provider_mirror()}"\n  }}\n}}\n')
    return {"TF_CLI_CONFIG_FILE": str(configuration), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_LOG": ""}


def fetch_cloud_init() -> None:
    """Unpacks Debian's package without installing it, because the installation would set up services."""
    if (PACKAGES_OF_CLOUD_INIT / "cloudinit").is_dir():
        return
    directory = LOCAL / "cloud-init"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # apt's own user may not write below the home directory of another user.
    run(["apt-get", "--option", "APT::Sandbox::User=root", "download", "cloud-init"], 120, cwd=directory)
    [package] = directory.glob("cloud-init_*.deb")
    run(["dpkg-deb", "--extract", str(package), str(directory)], 60)


def compose() -> list[str]:
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    # A machine without Docker may have a packed Docker Compose beside the project.
    for packed in sorted((ROOT.parent / "shared" / "docker" / "prebuilt").glob("docker-compose-*.xz")):
        program = LOCAL / "docker-compose"
        if not program.exists():
            draft = program.with_suffix(".new")
            with lzma.open(packed) as source, draft.open("wb") as target:
                shutil.copyfileobj(source, target)
            draft.chmod(0o755)
            draft.replace(program)
        return [str(program)]
    return []


def compile_tflint() -> None:
    if TFLINT_CACHE.exists() or shutil.which("go") is None:
        return
    directory = TFLINT_CACHE.parent / f"build-{os.getpid()}"
    directory.mkdir(parents=True)
    try:
        run(["nice", "go", "install", TFLINT], 400, env={**os.environ, "GOBIN": str(directory), "GOFLAGS": "-mod=mod"})
        (directory / "tflint").replace(TFLINT_CACHE)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def tflint() -> str | None:
    """Waits for the compilation and returns the path of tflint; None if Go is not installed."""
    with TFLINT_LOCK.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if TFLINT_CACHE.exists():
            return str(TFLINT_CACHE)
        if shutil.which("go") is None:
            return None
        lock.seek(0)
        raise CommandFailed(f"tflint could not be compiled:\n{lock.read()[-4000:]}")


if __name__ == "__main__":
    # This handler ends the running command together with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    {"fetch": fetch, "tflint": compile_tflint}[sys.argv[1]]()
