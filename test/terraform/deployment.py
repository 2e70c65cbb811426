"""Runs `terraform apply` against a local AWS API and reads the results from that API with the AWS SDK."""
import base64
import contextlib
import fnmatch
import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3

from checks import Checks, equal, holds
from processes import accepts, run, server

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
DUMMY_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}


def copy_module(target: Path) -> Path:
    """Copies the module and the compose file in the layout of the repository, without local variables or state."""
    leave_out = shutil.ignore_patterns(".terraform", "*.tfstate*", "terraform.tfvars", "*.auto.tfvars")
    shutil.copytree(ROOT / "terraform", target / "terraform", ignore=leave_out)
    shutil.copy(ROOT / "compose.yaml", target / "compose.yaml")
    return target / "terraform"


class Deployment:
    """A variant of the module, with its own AWS API."""

    def __init__(self, name: str, variables: dict[str, object], endpoint: str, directory: Path, terraform_env: dict[str, str]):
        self.name = name
        self.endpoint = endpoint
        self.directory = directory
        self.module = directory / "module" / "terraform"
        self.env = {**os.environ, **terraform_env, **DUMMY_KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "2"}
        self.env["TF_DATA_DIR"] = str(directory / "data")
        (self.module / "test.auto.tfvars.json").write_text(json.dumps(variables))

    def terraform(self, *arguments: str, timeout_seconds: int = 240, expect: tuple[int, ...] = (0,)) -> str:
        command = ["terraform", f"-chdir={self.module}", arguments[0], "-no-color", *arguments[1:]]
        return run(command, timeout_seconds, expect, env=self.env).stdout

    def client(self, service: str):
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.endpoint, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def outputs(self) -> dict:
        return {key: value["value"] for key, value in json.loads(self.terraform("output", "-json")).items()}

    def state(self) -> str:
        return (self.module / "terraform.tfstate").read_text()

    def instance(self) -> dict:
        return self.client("ec2").describe_instances(InstanceIds=[self.outputs()["instance_id"]])["Reservations"][0]["Instances"][0]

    def user_data(self) -> str:
        answer = self.client("ec2").describe_instance_attribute(InstanceId=self.outputs()["instance_id"], Attribute="userData")
        return gzip.decompress(base64.b64decode(answer["UserData"]["Value"])).decode()

    def rules(self) -> list[dict]:
        group = groups_of(self.instance())[0]["GroupId"]
        return self.client("ec2").describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]


@contextlib.contextmanager
def deployment(name: str, variables: dict[str, object], port: int, directory: Path, terraform_env: dict[str, str]) -> Iterator[Deployment]:
    copy_module(directory / "module")
    command = [sys.executable, str(Path(__file__).with_name("aws_api.py")), "-H", "127.0.0.1", "-p", str(port)]
    with server(command, lambda: accepts("127.0.0.1", port), directory / "aws-api.log"):
        yield Deployment(name, variables, f"http://127.0.0.1:{port}", directory, terraform_env)


# --- checks for every variant


def check_life(checks: Checks, made: Deployment, while_it_stands) -> None:
    """Checks apply, an empty second plan, the checks of the variant, and destroy."""
    name = made.name
    if not checks.check(f"{name}: apply makes everything", lambda: (made.terraform("init", "-input=false", "-lockfile=readonly"), made.terraform("apply", "-input=false", "-auto-approve"))):
        return
    checks.check(f"{name}: a second plan finds nothing to change", lambda: made.terraform("plan", "-input=false", "-detailed-exitcode"))
    check_common(checks, made)
    while_it_stands(made)
    checks.check(f"{name}: destroy succeeds", lambda: made.terraform("destroy", "-input=false", "-auto-approve"))
    checks.check(f"{name}: destroy leaves no resources that cost money", lambda: nothing_left(made))


def check_common(checks: Checks, made: Deployment) -> None:
    name = made.name
    checks.check(f"{name}: the host's metadata service requires tokens and allows one hop, and the host has no key pair", lambda: host_is_closed(made))
    checks.check(f"{name}: PostgreSQL and Redis are open only to the security group, and nothing is open to the internet", lambda: group_is_closed(made))
    checks.check(f"{name}: the database is private and encrypted, has the free size and requires TLS", lambda: database_is_closed(made))
    checks.check(f"{name}: the role has only the rights that it needs", lambda: role_is_narrow(made))
    checks.check(f"{name}: all resources that can have tags have them", lambda: everything_is_tagged(made))
    checks.check(f"{name}: no secret is in state or user data", lambda: no_secret_leaks(made))
    checks.check(f"{name}: image tags cannot be moved", lambda: repository_is_safe(made))


def host_is_closed(made: Deployment) -> None:
    instance = made.instance()
    options = instance["MetadataOptions"]
    equal((options["HttpTokens"], options["HttpPutResponseHopLimit"]), ("required", 1))
    holds(not instance.get("KeyName"), "there is a key pair")
    equal([group["GroupName"] for group in groups_of(instance)], ["scheduler-sg"])
    equal({tag["Key"]: tag["Value"] for tag in instance["Tags"]}["Name"], "scheduler-server")
    holds("scheduler-server" in instance["IamInstanceProfile"]["Arn"], "it has no role")
    disk = instance["BlockDeviceMappings"][0]["Ebs"]
    [volume] = made.client("ec2").describe_volumes(VolumeIds=[disk["VolumeId"]])["Volumes"]
    equal((volume["Encrypted"], volume["VolumeType"], disk["DeleteOnTermination"]), (True, "gp3", True))


def groups_of(instance: dict) -> list[dict]:
    return instance["NetworkInterfaces"][0]["Groups"]


def group_is_closed(made: Deployment) -> None:
    for rule in made.rules():
        if rule["IsEgress"]:
            continue
        if rule["FromPort"] in (5432, 6379):
            equal(rule.get("ReferencedGroupInfo", {}).get("GroupId"), rule["GroupId"])
            holds("CidrIpv4" not in rule, "a store is open to a network")
        else:
            holds(rule["FromPort"] == rule["ToPort"] and rule["FromPort"] in (8000, 22), f"port {rule['FromPort']} is open")
            holds(not rule["CidrIpv4"].endswith("/0"), "a port is open to the internet")
        holds(rule.get("Description"), "a rule has no description")
    ports = sorted(rule["FromPort"] for rule in made.rules() if not rule["IsEgress"] and "ReferencedGroupInfo" in rule)
    equal(ports, [5432, 6379])
    outward = sorted((rule["FromPort"], rule.get("CidrIpv4", "self")) for rule in made.rules() if rule["IsEgress"])
    equal(outward, [(80, "0.0.0.0/0"), (443, "0.0.0.0/0"), (5432, "self"), (6379, "self")])
    unused = made.client("ec2").describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [made.instance()["VpcId"]]}]
    )["SecurityGroups"][0]
    equal((unused["IpPermissions"], unused["IpPermissionsEgress"]), ([], []))


def database_is_closed(made: Deployment) -> None:
    [database] = made.client("rds").describe_db_instances(DBInstanceIdentifier="scheduler-db")["DBInstances"]
    equal((database["Engine"], database["EngineVersion"].split(".")[0], database["DBName"]), ("postgres", "16", "scheduler"))
    equal((database["DBInstanceClass"], database["AllocatedStorage"], database["MultiAZ"]), ("db.t3.micro", 20, False))
    equal((database["PubliclyAccessible"], database["StorageEncrypted"]), (False, True))
    equal([group["VpcSecurityGroupId"] for group in database["VpcSecurityGroups"]], [groups_of(made.instance())[0]["GroupId"]])
    subnets = database["DBSubnetGroup"]["Subnets"]
    equal(len({subnet["SubnetAvailabilityZone"]["Name"] for subnet in subnets}), 2)
    holds(made.instance()["SubnetId"] not in [subnet["SubnetIdentifier"] for subnet in subnets], "the database is in the public subnet")
    group = database["DBParameterGroups"][0]["DBParameterGroupName"]
    parameters = made.client("rds").describe_db_parameters(DBParameterGroupName=group, Source="user")["Parameters"]
    equal([(item["ParameterName"], item["ParameterValue"]) for item in parameters], [("rds.force_ssl", "1")])
    holds(database["MasterUserSecret"]["SecretArn"], "RDS does not keep the password")
    equal(database["AvailabilityZone"], made.instance()["Placement"]["AvailabilityZone"])


def role_is_narrow(made: Deployment) -> None:
    iam = made.client("iam")
    document = iam.get_role_policy(RoleName="scheduler-server", PolicyName="scheduler-server")["PolicyDocument"]
    assume = iam.get_role(RoleName="scheduler-server")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    equal([statement["Principal"] for statement in assume], [{"Service": "ec2.amazonaws.com"}])
    attached = iam.list_attached_role_policies(RoleName="scheduler-server")["AttachedPolicies"]
    equal([policy["PolicyName"] for policy in attached], ["AmazonSSMManagedInstanceCore"])
    arn = attached[0]["PolicyArn"]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    session_manager = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]

    [database] = made.client("rds").describe_db_instances(DBInstanceIdentifier="scheduler-db")["DBInstances"]
    secret = database["MasterUserSecret"]["SecretArn"]
    repository = made.client("ecr").describe_repositories(repositoryNames=["scheduler"])["repositories"][0]["repositoryArn"]
    parameters = "arn:aws:ssm:us-east-1:123456789012:parameter"
    for action, resource, expected in [
        ("secretsmanager:GetSecretValue", secret, True),
        ("secretsmanager:GetSecretValue", secret[:-6] + "other1", False),
        ("secretsmanager:PutSecretValue", secret, False),
        ("ecr:GetAuthorizationToken", "*", True),
        ("ecr:BatchGetImage", repository, True),
        ("ecr:BatchGetImage", repository + "-other", False),
        ("ecr:PutImage", repository, False),
        ("rds:DeleteDBInstance", database["DBInstanceArn"], False),
        ("ec2:RunInstances", "*", False),
        ("iam:PassRole", "*", False),
        ("elasticache:ModifyReplicationGroup", "*", False),
        ("ssmmessages:OpenDataChannel", "*", True),
        ("ssm:UpdateInstanceInformation", "*", True),
        ("ssm:GetParameter", f"{parameters}/anything", False),
        ("ssm:GetParameters", f"{parameters}/anything", False),
        ("ssm:PutParameter", f"{parameters}/anything", False),
        ("ssm:GetParameter", f"{parameters}/scheduler/admin-secret", True),
        ("ssm:PutParameter", f"{parameters}/scheduler/admin-secret", True),
        ("ssm:GetParameter", f"{parameters}/scheduler/admin-secret-next", True),
        ("ssm:PutParameter", f"{parameters}/scheduler/admin-secret-next", False),
        ("ssm:GetParameter", f"{parameters}/scheduler/admin-secret-of-others", False),
        ("ssm:PutParameter", f"{parameters}/scheduler/admin-secret-of-others", False),
        ("ssm:DeleteParameter", f"{parameters}/scheduler/admin-secret", False),
    ]:
        holds(allows([document, session_manager], action, resource) == expected, f"{action} on {resource}: expected {'allowed' if expected else 'refused'}")


def allows(documents: list[dict], action: str, resource: str) -> bool:
    """Decides as IAM does: at least one statement allows the action, and none denies it."""

    def listed(value) -> list[str]:
        return value if isinstance(value, list) else [value]

    def covers(patterns, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in listed(patterns))

    effects = {
        statement["Effect"]
        for document in documents
        for statement in document["Statement"]
        if covers(statement["Action"], action)
        and (covers(statement["Resource"], resource) if "Resource" in statement else not covers(statement["NotResource"], resource))
    }
    return effects == {"Allow"}


def everything_is_tagged(made: Deployment) -> None:
    def holds_tags(what: str, found: dict) -> None:
        holds(found.get("Project") == "scheduler" and found.get("ManagedBy") == "terraform", f"{what} has the tags {found}")

    # The tags that the provider has read back, for all resources that it can tag.
    tagged = [
        (f"{resource['type']}.{resource['name']}", instance["attributes"]["tags_all"])
        for resource in json.loads(made.state())["resources"]
        for instance in resource["instances"]
        if resource["mode"] == "managed" and "tags_all" in instance["attributes"]
    ]
    holds(len(tagged) >= 20, f"only {len(tagged)} resources have tags")
    for what, tags in tagged:
        # The AWS SDK below checks only some of them, because this API does not return the tags of all resources.
        holds_tags(what, tags)

    def listed(tags: list[dict]) -> dict:
        return {tag["Key"]: tag["Value"] for tag in tags}

    ec2, instance = made.client("ec2"), made.instance()
    holds_tags("the host", listed(instance["Tags"]))
    volumes = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
    for volume in ec2.describe_volumes(VolumeIds=volumes)["Volumes"]:
        holds_tags("its disk", listed(volume.get("Tags", [])))
    of_vpc = [{"Name": "vpc-id", "Values": [instance["VpcId"]]}]
    for subnet in ec2.describe_subnets(Filters=of_vpc)["Subnets"]:
        holds_tags("a subnet", listed(subnet["Tags"]))
    for group in ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"]:
        holds_tags(f"security group {group['GroupName']}", listed(group.get("Tags", [])))
    [database] = made.client("rds").describe_db_instances(DBInstanceIdentifier="scheduler-db")["DBInstances"]
    holds_tags("the database", listed(database["TagList"]))
    holds_tags("the role", listed(made.client("iam").list_role_tags(RoleName="scheduler-server")["Tags"]))


def no_secret_leaks(made: Deployment) -> None:
    [database] = made.client("rds").describe_db_instances(DBInstanceIdentifier="scheduler-db")["DBInstances"]
    answer = made.client("secretsmanager").get_secret_value(SecretId=database["MasterUserSecret"]["SecretArn"])
    password = json.loads(answer["SecretString"])["password"]
    holds(len(password) >= 16, "the master's password is short")
    for place, text in [("state", made.state()), ("user data", made.user_data())]:
        holds(password not in text and json.dumps(password)[1:-1] not in text, f"the master's password is in the {place}")
    holds(database["MasterUserSecret"]["SecretArn"] in made.user_data(), "the host does not know where the secret is")


def repository_is_safe(made: Deployment) -> None:
    [repository] = made.client("ecr").describe_repositories(repositoryNames=["scheduler"])["repositories"]
    equal(repository["imageTagMutability"], "IMMUTABLE")
    equal(repository["imageScanningConfiguration"]["scanOnPush"], True)


def nothing_left(made: Deployment) -> None:
    ec2 = made.client("ec2")
    states = [instance["State"]["Name"] for reservation in ec2.describe_instances()["Reservations"] for instance in reservation["Instances"]]
    holds(set(states) <= {"terminated"}, f"instances: {states}")
    equal([volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]], [])
    equal(ec2.describe_addresses()["Addresses"], [])
    equal([vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]], [])
    equal(made.client("rds").describe_db_instances()["DBInstances"], [])
    equal(made.client("elasticache").describe_replication_groups()["ReplicationGroups"], [])
    equal(made.client("ecr").describe_repositories()["repositories"], [])
    equal(made.client("secretsmanager").list_secrets()["SecretList"], [])
    equal([role["RoleName"] for role in made.client("iam").list_roles()["Roles"] if role["RoleName"].startswith("scheduler")], [])
