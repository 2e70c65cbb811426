"""Runs all checks of terraform/ (see scripts/test-terraform). Prints "N passed, N failed" and exits 1 if any failed."""
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import guide
import host
import memory_limit
import units
from checks import Checks, equal, holds
from credentials import check_secrets
from deployment import ROOT, check_life, copy_module, deployment
from processes import run
from stack import check_stack
from tools import Tools, find_tools, tflint
from units import check_units
from world import outside_world

PREFIX = "scheduler-terraform-"
MANAGED = {
    "redis": "elasticache",
    "redis_nodes": 2,
    "allowed_cidrs": ["203.0.113.7/32", "198.51.100.0/24"],
    "ssh_cidrs": ["203.0.113.7/32"],
    "fixed_address": True,
    "ubuntu_version": "24.04",
    "instance_type": "t2.micro",
    "db_final_snapshot": False,
}


def main() -> int:
    checks = Checks()
    tools = find_tools()
    run(["ip", "link", "set", "lo", "up"], 10)
    with working_directory() as directory:
        # Applies mostly wait for answers, so the three parts run in parallel.
        bodies = [
            ("cost-optimised", lambda: cost_optimised(checks, directory / "a", tools)),
            ("managed", lambda: managed(checks, directory / "b", tools)),
            ("static checks", lambda: static_checks(checks, directory / "c", tools)),
        ]
        threads = [threading.Thread(target=guarded, args=(checks, *body), daemon=True) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


@contextlib.contextmanager
def working_directory() -> Iterator[Path]:
    """Yields a directory and deletes it afterwards. Also deletes the directories of earlier runs that were killed."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (leftover / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear(leftover)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    # PostgreSQL runs as another user, which has to reach its subdirectory.
    directory.chmod(0o755)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            # As the first process of its PID namespace, this process may kill all others in it.
            if os.getpid() == 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            clear(directory)


def clear(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    group = memory_limit.path_of(directory.name)
    if group.is_dir():
        memory_limit.remove(group)
    units.clear(directory.name)


def guarded(checks: Checks, name: str, body) -> None:
    try:
        body()
    except BaseException as error:
        checks.check(f"{name} runs to its end", lambda: raise_again(error))


def raise_again(error: BaseException) -> None:
    raise error


def cost_optimised(checks: Checks, directory: Path, tools: Tools) -> None:
    directory.mkdir()

    def while_it_stands(made) -> None:
        promised.append(made.outputs()["final_snapshot"])
        checks.check("cost-optimised: a t3.micro with Ubuntu 22.04, a budget, port 8000 open to one network, and no ElastiCache", lambda: is_cost_optimised(made))
        user_data = host.check_user_data(checks, made, tools)
        host.check_boot(checks, made, user_data, tools, lambda booted: outside(made, booted))
        guide.check_image(checks, made)
        guide.check_stop_and_start(checks, made)

    def outside(made, booted) -> None:
        with outside_world(made, booted, tools) as world:
            check_secrets(checks, booted, world)
            guide.check_first_secret(checks, made, world.first_secret())
            check_units(checks, world)
            check_stack(checks, world)

    def is_cost_optimised(made) -> None:
        equal(made.instance()["InstanceType"], "t3.micro")
        equal(made.client("elasticache").describe_replication_groups()["ReplicationGroups"], [])
        inward = [(rule["FromPort"], rule["CidrIpv4"]) for rule in made.rules() if not rule["IsEgress"] and "CidrIpv4" in rule]
        equal(inward, [(8000, "203.0.113.7/32")])
        [budget] = made.client("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
        equal((budget["BudgetName"], float(budget["BudgetLimit"]["Amount"])), ("scheduler-monthly", 5.0))

    promised: list[str] = []
    with deployment("cost-optimised", {}, 5001, directory, tools.terraform_env) as made:
        # docs/aws.md tells new users to copy this file.
        shutil.copy(made.module / "terraform.tfvars.example", made.module / "terraform.tfvars")
        check_life(checks, made, while_it_stands)
        checks.check("cost-optimised: destroy leaves the final snapshot that the outputs named", lambda: equal(snapshots(made), promised))
        guide.check_snapshot(checks, made)
        guide.check_parameter(checks, made)


def managed(checks: Checks, directory: Path, tools: Tools) -> None:
    directory.mkdir()

    def while_it_stands(made) -> None:
        checks.check("managed: Redis has TLS, noeviction and a replica, and is in a security group", lambda: has_redis(made))
        checks.check("managed: a t2.micro with a fixed address, and port 22 open to one network", lambda: has_address(made))
        path = host.check_user_data(checks, made, tools)
        checks.check("managed: the host gets a rediss address and runs no Redis", lambda: knows_redis(made, path))
        guide.check_token(checks, made)

    def has_redis(made) -> None:
        cache = made.client("elasticache")
        [group] = cache.describe_replication_groups()["ReplicationGroups"]
        equal((group["TransitEncryptionEnabled"], group["AtRestEncryptionEnabled"], len(group["MemberClusters"])), (True, True, 2))
        equal((group["AutomaticFailover"], group["MultiAZ"]), ("enabled", "enabled"))
        [member, _] = cache.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
        equal(member["CacheNodeType"], "cache.t3.micro")
        holds([given["SecurityGroupId"] for given in member["SecurityGroups"]], "it is in no security group")
        parameters = cache.describe_cache_parameters(CacheParameterGroupName="scheduler-redis7", Source="user")["Parameters"]
        equal([(item["ParameterName"], item["ParameterValue"]) for item in parameters], [("maxmemory-policy", "noeviction")])

    def has_address(made) -> None:
        equal(made.instance()["InstanceType"], "t2.micro")
        inward = sorted((rule["FromPort"], rule["CidrIpv4"]) for rule in made.rules() if not rule["IsEgress"] and "CidrIpv4" in rule)
        equal(inward, [(22, "203.0.113.7/32"), (8000, "198.51.100.0/24"), (8000, "203.0.113.7/32")])
        [address] = made.client("ec2").describe_addresses()["Addresses"]
        equal(made.outputs()["api_url"], f"http://{address['PublicIp']}:8000")

    def knows_redis(made, path: Path) -> None:
        text = path.read_text()
        holds(f"rediss://{made.outputs()['redis_address']}:6379/0" in text, "the user data does not contain the address of Redis")
        holds("redis-server" not in text, "there is a Redis on the host")

    with deployment("managed", MANAGED, 5002, directory, tools.terraform_env) as made:
        check_life(checks, made, while_it_stands)
        checks.check("managed: destroy leaves no snapshot if none was requested", lambda: equal(snapshots(made), []))


def snapshots(made) -> list[str]:
    return [item["DBSnapshotIdentifier"] for item in made.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]]


def static_checks(checks: Checks, directory: Path, tools: Tools) -> None:
    module = copy_module(directory)
    env = {**os.environ, **tools.terraform_env, "TF_DATA_DIR": str(directory / "data")}

    def terraform(*arguments: str, seconds: int = 60) -> str:
        return run(["terraform", f"-chdir={module}", *arguments], seconds, env=env).stdout

    checks.check("terraform fmt has nothing to change", lambda: terraform("fmt", "-check", "-recursive"))
    checks.check("terraform validate", lambda: (terraform("init", "-input=false", "-lockfile=readonly", "-no-color"), terraform("validate", "-no-color")))
    checks.check("checkov finds no problem except those that are explained beside the resource", lambda: checkov(module))
    guide.check_by_hand(checks, directory / "by-hand", tools)
    checks.check("shellcheck finds no problem in the scripts", shellcheck)
    run_terraform_tests(checks, module, env)
    checks.check("tflint with all rules finds no problem", lambda: lint(checks, module))


def run_terraform_tests(checks: Checks, module: Path, env: dict[str, str]) -> None:
    output = run(["terraform", f"-chdir={module}", "test", "-no-color"], 400, expect=(0, 1), env=env).stdout
    counts = re.search(r"(\d+) passed, (\d+) failed", output)
    passed, failed = (int(counts[1]), int(counts[2])) if counts else (0, 1)
    skipped = re.search(r"(\d+) skipped", output)
    failed += int(skipped[1]) if skipped else 0
    if failed:
        checks.note(output)
    checks.add("terraform test", passed, failed)


def lint(checks: Checks, module: Path) -> None:
    linter = tflint()
    if linter is None:
        checks.note("not run: tflint (there is no Go on this machine to compile it with)")
    else:
        run([linter, f"--chdir={module}"], 60)


def checkov(module: Path) -> None:
    program = Path(sys.executable).with_name("checkov")
    output = run([str(program), "--skip-download", "--quiet", "--framework", "terraform", "--directory", str(module), "--output", "json"], 200, expect=(0, 1)).stdout
    report = json.loads(output[output.index("{"):])
    failures = [f"{item['check_id']} {item['check_name']} ({item['resource']})" for item in report["results"]["failed_checks"]]
    equal(failures, [])
    equal(report["summary"]["parsing_errors"], 0)
    # A skip reason without a skipped check is out of date.
    reasons = sum(len(re.findall(r"#checkov:skip=\w+:.{20,}", path.read_text())) for path in module.glob("*.tf"))
    equal(report["summary"]["skipped"], reasons)
    holds(report["summary"]["passed"] > 60, f"only {report['summary']['passed']} checks were made")


def shellcheck() -> None:
    scripts = [ROOT / "scripts" / "test-terraform", ROOT / "terraform" / "host" / "scheduler-install", ROOT / "terraform" / "push-image"]
    run(["shellcheck", "--external-sources", *map(str, scripts)], 60, cwd=ROOT / "scripts")


if __name__ == "__main__":
    # Without a handler, the first process of a PID namespace ignores SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
