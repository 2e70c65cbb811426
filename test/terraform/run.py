"""All checks of terraform/: see scripts/test-terraform. Prints "N passed, N failed" and exits 1 if any failed."""
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import host
from checks import Checks, equal, holds
from deployment import ROOT, check_life, copy_module, deployment
from processes import run
from stack import check_stack
from tools import find_tools, tflint

COST_OPTIMISED = {"allowed_cidrs": ["203.0.113.7/32"], "budget_email": "you@example.org"}
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
    # Below a directory that others may pass through: PostgreSQL runs as another user.
    directory = Path(tempfile.mkdtemp(prefix="scheduler-terraform-"))
    directory.chmod(0o755)
    try:
        # Applies mostly wait for answers that take their time on purpose: the rest runs beside them.
        threads = [
            threading.Thread(target=guarded, args=(checks, name, body))
            for name, body in [
                ("cost-optimised", lambda: cost_optimised(checks, directory / "a", tools)),
                ("managed", lambda: managed(checks, directory / "b", tools)),
                ("static checks", lambda: static_checks(checks, directory / "c", tools)),
            ]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


def guarded(checks: Checks, name: str, body) -> None:
    try:
        body()
    except BaseException as error:
        checks.check(f"{name} comes to its end", lambda: raise_again(error))


def raise_again(error: BaseException) -> None:
    raise error


def cost_optimised(checks: Checks, directory: Path, tools) -> None:
    directory.mkdir()

    def while_it_stands(made) -> None:
        checks.check("cost-optimised: t3.micro with Ubuntu 22.04 and a budget, port 8000 for one network, nothing of ElastiCache", lambda: is_cost_optimised(made))
        user_data = host.check_user_data(checks, made, tools)
        host.check_boot(checks, made, user_data, tools, check_stack)

    def is_cost_optimised(made) -> None:
        equal(made.instance()["InstanceType"], "t3.micro")
        equal(made.client("elasticache").describe_replication_groups()["ReplicationGroups"], [])
        inward = [(rule["FromPort"], rule["CidrIpv4"]) for rule in made.rules() if not rule["IsEgress"] and "CidrIpv4" in rule]
        equal(inward, [(8000, "203.0.113.7/32")])
        [budget] = made.client("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
        equal((budget["BudgetName"], float(budget["BudgetLimit"]["Amount"])), ("scheduler-monthly", 5.0))

    with deployment("cost-optimised", COST_OPTIMISED, directory, tools.terraform_env) as made:
        check_life(checks, made, while_it_stands)
        checks.check("cost-optimised: the final snapshot is what destroy leaves behind", lambda: snapshots(made, 1))


def managed(checks: Checks, directory: Path, tools) -> None:
    directory.mkdir()

    def while_it_stands(made) -> None:
        checks.check("managed: Redis with TLS, noeviction and a replica, for the group only", lambda: has_redis(made))
        checks.check("managed: port 22 for one network, a fixed address, t2.micro", lambda: has_address(made))
        path = host.check_user_data(checks, made, tools)
        checks.check("managed: the host is told a rediss address and runs no Redis", lambda: knows_redis(made, path))

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
        holds(f"rediss://{made.outputs()['redis_address']}:6379/0" in text, "the address is not there")
        holds("redis-server" not in text, "there is a Redis on the host")

    with deployment("managed", MANAGED, directory, tools.terraform_env) as made:
        check_life(checks, made, while_it_stands)
        checks.check("managed: destroy leaves no snapshot where none was wanted", lambda: snapshots(made, 0))


def snapshots(made, count: int) -> None:
    found = [item["DBSnapshotIdentifier"] for item in made.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]]
    equal((len(found), all(name.startswith("scheduler-db-final-2") for name in found)), (count, True))


def static_checks(checks: Checks, directory: Path, tools) -> None:
    module = copy_module(directory)
    env = {**os.environ, **tools.terraform_env, "TF_DATA_DIR": str(directory / "data")}

    def terraform(*arguments: str, seconds: int = 60) -> str:
        return run(["terraform", f"-chdir={module}", *arguments], seconds, env=env).stdout

    checks.check("terraform fmt has nothing to change", lambda: terraform("fmt", "-check", "-recursive"))
    checks.check("terraform validate", lambda: (terraform("init", "-input=false", "-lockfile=readonly", "-no-color"), terraform("validate", "-no-color")))
    checks.check("checkov has nothing to say but what is explained beside the resource", lambda: checkov(module))
    checks.check("shellcheck has nothing to say about the scripts", shellcheck)
    run_terraform_tests(checks, module, env)
    linter = tflint()
    if linter is None:
        checks.note("not run: tflint (there is no Go on this machine to compile it with)")
    else:
        checks.check("tflint with all rules has nothing to say", lambda: run([linter, f"--chdir={module}"], 60))


def run_terraform_tests(checks: Checks, module: Path, env: dict[str, str]) -> None:
    output = run(["terraform", f"-chdir={module}", "test", "-no-color"], 400, expect=(0, 1), env=env).stdout
    counts = re.search(r"(\d+) passed, (\d+) failed", output)
    passed, failed = (int(counts[1]), int(counts[2])) if counts else (0, 1)
    skipped = re.search(r"(\d+) skipped", output)
    failed += int(skipped[1]) if skipped else 0
    if failed:
        checks.note(output)
    checks.add("terraform test", passed, failed)


def checkov(module: Path) -> None:
    program = Path(sys.executable).with_name("checkov")
    output = run([str(program), "--skip-download", "--quiet", "--framework", "terraform", "--directory", str(module), "--output", "json"], 200, expect=(0, 1)).stdout
    report = json.loads(output[output.index("{"):])
    failures = [f"{item['check_id']} {item['check_name']} ({item['resource']})" for item in report["results"]["failed_checks"]]
    equal(failures, [])
    equal(report["summary"]["parsing_errors"], 0)
    # A reason that no check asks for any more is out of date.
    reasons = sum(len(re.findall(r"#checkov:skip=\w+:.{20,}", path.read_text())) for path in module.glob("*.tf"))
    equal(report["summary"]["skipped"], reasons)
    holds(report["summary"]["passed"] > 60, f"only {report['summary']['passed']} checks were made")


def shellcheck() -> None:
    scripts = [ROOT / "scripts" / "test-terraform", ROOT / "terraform" / "host" / "scheduler-install", ROOT / "terraform" / "push-image"]
    run(["shellcheck", "--external-sources", *map(str, scripts)], 60, cwd=ROOT / "scripts")


if __name__ == "__main__":
    sys.exit(main())
