"""What the tests need beside Terraform and Python packages: found or fetched, and told what is missing."""
import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from processes import CommandFailed, run

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local" / "terraform"
TFLINT = "github.com/terraform-linters/tflint@v0.64.0"
TFLINT_CACHE = Path.home() / ".cache" / "scheduler-tools" / "tflint-0.64.0"
MIRRORS = [Path("/opt"), Path("/usr/share/terraform"), Path("/usr/local/share/terraform"), Path.home() / ".terraform.d"]


@dataclass
class Tools:
    cloud_init: str
    """Directory of cloud-init's Python packages."""
    compose: list[str]
    """Command of Docker Compose; empty where there is none."""
    terraform_env: dict[str, str]


def find_tools() -> Tools:
    return Tools(cloud_init=cloud_init(), compose=compose(), terraform_env=terraform_env())


def terraform_env() -> dict[str, str]:
    """Takes the provider from a mirror on this machine where there is one, else from the registry."""
    mirror = next((found.parents[2] for root in MIRRORS if root.is_dir() for found in root.glob("**/registry.terraform.io/hashicorp/aws")), None)
    configuration = LOCAL / "terraform.rc"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    method = f'filesystem_mirror {{\n    path = "{mirror}"\n  }}' if mirror else "direct {\n  }"
    configuration.write_text(f"provider_installation {{\n  {method}\n}}\n")
    return {"TF_CLI_CONFIG_FILE": str(configuration), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_LOG": ""}


def cloud_init() -> str:
    """Debian's package, unpacked: installing it would set up services."""
    directory = LOCAL / "cloud-init"
    packages = directory / "usr" / "lib" / "python3" / "dist-packages"
    if not (packages / "cloudinit").is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        # apt's own user may not write below another's home.
        run(["apt-get", "--option", "APT::Sandbox::User=root", "download", "cloud-init"], 120, cwd=directory)
        [package] = directory.glob("cloud-init_*.deb")
        run(["dpkg-deb", "--extract", str(package), str(directory)], 60)
    return str(packages)


def compose() -> list[str]:
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    # An engine that a machine without one keeps beside the project brings the program along.
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


def tflint() -> str | None:
    """Its path; compiled once, which takes minutes. None where there is no Go to compile it with."""
    if not TFLINT_CACHE.exists():
        if shutil.which("go") is None:
            return None
        directory = TFLINT_CACHE.parent / "build"
        directory.mkdir(parents=True, exist_ok=True)
        try:
            run(["nice", "go", "install", TFLINT], 420, env={**os.environ, "GOBIN": str(directory), "GOFLAGS": "-mod=mod"})
        except CommandFailed as error:
            raise CommandFailed(f"tflint could not be compiled: {error}") from None
        (directory / "tflint").replace(TFLINT_CACHE)
    return str(TFLINT_CACHE)
