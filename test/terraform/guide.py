"""Runs the commands of docs/aws.md with the AWS CLI and Terraform against the API of the test."""
import json
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path

from checks import Checks, equal, holds
from deployment import DUMMY_KEYS, ROOT, Deployment
from processes import run
from tools import Tools

PAGE = ROOT / "docs" / "aws.md"


def blocks(heading: str) -> list[str]:
    """Returns the fenced blocks below a heading."""
    [section] = [part for part in re.split(r"^## ", PAGE.read_text(), flags=re.M) if part.startswith(f"{heading}\n")]
    return re.findall(r"^```\n(.*?)^```", section, flags=re.M | re.S)


def block(heading: str, start: str) -> str:
    """Returns the only block below the heading that starts with `start`."""
    [found] = [text for text in blocks(heading) if text.startswith(start)]
    return found


class Reader:
    """A user at a shell in terraform/, with credentials, the AWS CLI and a stub of Docker that records its calls."""

    def __init__(self, made: Deployment):
        self.made = made
        self.calls = made.directory / "docker-calls"
        stubs = made.directory / "reader"
        stubs.mkdir(exist_ok=True)
        # PyPI has only version 1 of the AWS CLI, which takes the address of RDS only from this option.
        aws = f'exec {Path(sys.executable).with_name("aws")} --endpoint-url {made.endpoint} "$@"'
        for name, script in [("aws", aws), ("docker", 'printf "%s\\n" "$*" >>"$CALLS"\n[ "$1" != login ] || grep -q .')]:
            (stubs / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
            (stubs / name).chmod(0o755)
        self.env = {**made.env, **DUMMY_KEYS, "PATH": f"{stubs}:{os.environ['PATH']}", "CALLS": str(self.calls), "AWS_PAGER": "", "TF_CLI_ARGS_apply": "-auto-approve -input=false -no-color"}

    def types(self, commands: str, timeout_seconds: int = 240) -> str:
        return run(["bash", "-euo", "pipefail", "-c", commands], timeout_seconds, env=self.env, cwd=self.made.module).stdout


def check_image(checks: Checks, made: Deployment) -> None:
    checks.check("page: the image is built for the host and pushed to the repository that apply made", lambda: push(made))


def push(made: Deployment) -> None:
    reader = Reader(made)
    [first] = [line for line in block("From an empty account to the first task", "./push-image").splitlines() if line.startswith("./push-image")]
    output = reader.types(first)
    repository = made.outputs()["repository_url"]
    equal(made.outputs()["image"], f"{repository}:v1")
    holds(output.rstrip().endswith(f"{repository}:v1"), output)
    equal(
        reader.calls.read_text().splitlines(),
        [
            f"login --username AWS --password-stdin {repository.split('/')[0]}",
            f"build --platform linux/amd64 --tag {repository}:v1 ..",
            f"push {repository}:v1",
        ],
    )


def check_stop_and_start(checks: Checks, made: Deployment) -> None:
    checks.check("page: its commands stop and start the host and the database", lambda: stop_and_start(made))


def stop_and_start(made: Deployment) -> None:
    reader = Reader(made)
    chapter = "Stop, start, destroy"
    reader.types(block(chapter, "aws ec2 stop-instances"))
    equal(states(made), ("stopped", "stopped"))
    output = reader.types(block(chapter, "aws rds start-db-instance"))
    equal(states(made), ("running", "available"))
    holds(made.outputs()["api_url"] in output, output)
    holds(made.instance()["PublicIpAddress"] in made.outputs()["api_url"], "the address is an old one")


def states(made: Deployment) -> tuple[str, str]:
    [database] = made.client("rds").describe_db_instances(DBInstanceIdentifier="scheduler-db")["DBInstances"]
    return made.instance()["State"]["Name"], database["DBInstanceStatus"]


def check_snapshot(checks: Checks, made: Deployment) -> None:
    checks.check("page: its command deletes the snapshot that destroy left", lambda: delete_snapshot(made))


def delete_snapshot(made: Deployment) -> None:
    rds = made.client("rds")
    [snapshot] = [item["DBSnapshotIdentifier"] for item in rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]]
    commands, count = re.subn(r"scheduler-db-final-\d+", snapshot, block("Stop, start, destroy", "aws rds delete-db-snapshot"))
    equal(count, 1)
    Reader(made).types(commands)
    equal(rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"], [])


def check_first_secret(checks: Checks, made: Deployment, secret: str) -> None:
    checks.check("page: its command prints the secret of the first client", lambda: print_secret(made, secret))


def print_secret(made: Deployment, secret: str) -> None:
    [line] = [line for line in block("From an empty account to the first task", "url=").splitlines() if "secret_command" in line]
    equal(Reader(made).types(f'{line}\necho "$secret"').strip(), secret)


def check_parameter(checks: Checks, made: Deployment) -> None:
    checks.check("page: its command deletes the parameter that destroy left", lambda: delete_parameter(made))


def delete_parameter(made: Deployment) -> None:
    ssm = made.client("ssm")
    names = [{"Key": "Name", "Option": "BeginsWith", "Values": ["/scheduler/"]}]
    equal([item["Name"] for item in ssm.describe_parameters(ParameterFilters=names)["Parameters"]], ["/scheduler/admin-secret"])
    Reader(made).types(block("Stop, start, destroy", "aws ssm delete-parameter"))
    equal(ssm.describe_parameters(ParameterFilters=names)["Parameters"], [])


def check_token(checks: Checks, made: Deployment) -> None:
    checks.check("page: its commands set a token for Redis, which is not in the state", lambda: set_token(made))


def set_token(made: Deployment) -> None:
    reader = Reader(made)
    chapter = "Managed Redis"
    host = made.outputs()["instance_id"]
    reader.types(block(chapter, "token="))
    secrets = made.client("secretsmanager")
    token = secrets.get_secret_value(SecretId="scheduler-redis-token")["SecretString"]
    arn = secrets.describe_secret(SecretId="scheduler-redis-token")["ARN"]
    holds(made.outputs()["instance_id"] != host, "a host that has booted does not read changed user data")
    holds(arn in made.user_data(), "the host does not know where the token is")
    policy = made.client("iam").get_role_policy(RoleName="scheduler-server", PolicyName="scheduler-server")["PolicyDocument"]
    readable = [statement["Resource"] for statement in policy["Statement"] if statement["Sid"] == "ReadSecrets"]
    holds(arn in readable[0], f"the host may read {readable}")
    for text in (made.state(), made.user_data()):
        holds(token not in text, "the token is in state or user data")
    reader.types(block(chapter, "aws secretsmanager delete-secret"))


def check_by_hand(checks: Checks, directory: Path, tools: Tools) -> None:
    if tools.compose:
        checks.check("page: the compose files for the setup by hand match the compose file of the repository", lambda: by_hand(directory, tools))


def by_hand(directory: Path, tools: Tools) -> None:
    directory.mkdir()
    [chapter] = [part for part in re.split(r"^## ", PAGE.read_text(), flags=re.M) if part.startswith("By hand")]
    [override] = re.findall(r"^ +```yaml\n(.*?)^ +```", chapter, flags=re.M | re.S)
    [settings] = [text for text in re.findall(r"^ +```\n(.*?)^ +```", chapter, flags=re.M | re.S) if text.lstrip().startswith("DATABASE_URL=")]
    (directory / "compose.override.yaml").write_text(textwrap.dedent(override))
    (directory / ".env").write_text(textwrap.dedent(settings))
    shutil.copy(ROOT / "compose.yaml", directory)
    text = run([*tools.compose, "config", "--format", "json"], 60, env={"PATH": os.environ["PATH"], "HOME": str(directory)}, cwd=directory).stdout
    services = json.loads(text[text.index("{"):])["services"]
    equal([(port["published"], port["target"], port.get("host_ip", "")) for port in services["api"]["ports"]], [("8000", 8000, "")])
    for name in ("migrate", "api", "worker", "reclaimer"):
        holds(services[name]["image"].endswith("/scheduler:v1"), f"{name} runs {services[name]['image']}")
        equal(services[name]["environment"]["DATABASE_CA_FILE"], services[name]["volumes"][0]["target"])
        # The port is open to a network here.
        equal(services[name]["environment"].get("AUTH"), "keys")
        holds(services[name]["environment"]["DATABASE_URL"].startswith("postgresql://scheduler_app:"), f"{name} logs in with another role")
