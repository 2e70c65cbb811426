"""Checks the secrets on the host: they are made, kept and renewed, and stay unchanged during an outage."""
import contextlib
import json
import re
import secrets
import shutil
import stat
import urllib.parse
from collections.abc import Iterator

from certificates import Authority
from checks import Checks, equal, holds
from deployment import ROOT
from host import SECRETS, Host
from world import NOWHERE, World


def check_secrets(checks: Checks, host: Host, world: World) -> None:
    checks.check("host: if AWS or the database does not answer yet, the start fails, names the problem and leaves no partial files", lambda: too_early(world))
    if not checks.check("host: the secrets are fetched with the role of the instance, through version 2 of the metadata service", lambda: first_run(world)):
        return
    checks.check("host: files have mode 0600 and belong to the image's user; the directory has mode 0700", lambda: files_are_private(host))
    checks.check("host: the application's role is not the master, and no superuser", lambda: role_is_plain(world))
    checks.check("host: no file contains the master's password, and no log of PostgreSQL contains the role's password", lambda: passwords_stay_inside(world))
    checks.check("host: only root can read the registry's login", lambda: registry_login(world))
    checks.check("host: the first client is an admin; its secret is random and is in Parameter Store, encrypted, and nowhere else", lambda: first_client(world))
    checks.check("host: the first client keeps its secret, also on the next host; a secret that somebody changes takes effect", lambda: first_client_stays(world))
    checks.check("host: the first client's secret is rotated without a moment in which neither the old nor the new one is valid", lambda: first_client_rotates(world))
    checks.check("host: without keys, the host makes no client and asks for no parameter", lambda: open_to_everyone(world))
    checks.check("host: a second run does not change a password that works", lambda: second_run(world))
    checks.check("host: the master's password may be rotated at any time", lambda: master_rotates(world))
    checks.check("host: a role whose password was changed gets a new one", lambda: role_is_repaired(world))
    checks.check("host: the role's password is renewed after a week", lambda: role_is_renewed(world))
    checks.check("host: while AWS is down, the existing secrets stay in use", lambda: aws_is_away(world))
    checks.check("host: while the database is down, its password stays unchanged", lambda: database_is_away(world))
    checks.check("host: a server with a certificate from another authority gets no password", lambda: impostor(world))
    checks.check("host: a server with a certificate for another name gets no password", lambda: another_name(world))
    checks.check("host: after a restart with an empty /run, the secrets are made again", lambda: after_reboot(world))
    checks.check("host: the address of Redis contains its token, also after the token has changed", lambda: redis_token(world))
    checks.check("host: the image's user can run the migrations with the role, over TLS with a verified name", lambda: migrations(world))


def too_early(world: World) -> None:
    """Simulates a first boot that is too early. On the host, systemd repeats the failed start."""
    address = world.host.path(SECRETS / "database-url")
    with without_aws(world):
        output = world.credentials(expect=(1,))
    holds("database-url: " in output and "config.json: " in output and "secret: " in output, output)
    with without_database(world):
        output = world.credentials(expect=(1,))
    holds("database-url: " in output and "config.json: " not in output, output)
    holds(not address.exists(), "there is a database-url with a password that is not set in the database")


@contextlib.contextmanager
def without_aws(world: World) -> Iterator[None]:
    endpoint, world.made.endpoint = world.made.endpoint, NOWHERE
    try:
        yield
    finally:
        world.made.endpoint = endpoint


@contextlib.contextmanager
def without_database(world: World) -> Iterator[None]:
    """Points the name of the database to an address where nothing answers."""
    hosts = world.host.path("etc/hosts")
    text = hosts.read_text()
    hosts.write_text(text.replace(f"{world.address} {world.database['host']}", f"127.0.0.9 {world.database['host']}\n{world.address}"))
    try:
        yield
    finally:
        hosts.write_text(text)


def first_run(world: World) -> None:
    output = world.credentials()
    holds("new password" in output, output)
    holds(any("scheduler-server" in path for path in world.metadata_calls), f"metadata calls: {world.metadata_calls}")
    url = urllib.parse.urlsplit(world.url())
    equal((url.scheme, url.username, url.hostname, url.port, url.path, url.query), ("postgresql", "scheduler_app", world.database["host"], 5432, "/scheduler", "sslmode=verify-full"))
    equal(world.host.path(SECRETS / "redis-url").read_text(), "redis://redis:6379/0\n")
    equal(world.host.path(SECRETS / "rds-ca.pem").read_text(), world.rds.certificate)
    equal(log_in(world), "scheduler_app")


def log_in(world: World) -> str:
    url = urllib.parse.urlsplit(world.url())
    return world.sql("SELECT current_user", user=url.username, password=url.password)


def files_are_private(host: Host) -> None:
    directory = host.path(SECRETS)
    status = directory.stat()
    equal((oct(stat.S_IMODE(status.st_mode)), status.st_uid), ("0o700", 1000))
    for path in directory.rglob("*"):
        status = path.stat()
        mode = "0o700" if path.is_dir() else "0o600"
        equal((path.name, oct(stat.S_IMODE(status.st_mode)), status.st_uid), (path.name, mode, 1000))
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    equal(files, ["clients/admin/role", "clients/admin/secret", "database-url", "rds-ca.pem", "redis-url"])


def role_is_plain(world: World) -> None:
    equal(world.sql("SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = 'scheduler_app'"), "f|f|f|f|f")
    holds(world.master_secret()["username"] != "scheduler_app", "the application is the master")


def passwords_stay_inside(world: World) -> None:
    master, role = world.master_secret()["password"], urllib.parse.urlsplit(world.url()).password
    for path in world.host.path("").rglob("*"):
        if path.is_file() and not path.is_symlink():
            holds(master.encode() not in path.read_bytes(), f"the master's password is in {path}")
    log = (world.directory / "postgres.log").read_text()
    holds("ALTER ROLE scheduler_app" in log, "the log does not show the change of the role")
    holds(role not in log, "the role's password is in the log of PostgreSQL")


def registry_login(world: World) -> None:
    path = world.host.path("run/scheduler/docker/config.json")
    equal((stat.S_IMODE(path.stat().st_mode), path.stat().st_uid), (0o600, 0))
    [(registry, login)] = json.loads(path.read_text())["auths"].items()
    holds(re.fullmatch(r"[0-9]{12}\.dkr\.ecr\.us-east-1\.amazonaws\.com", registry) and login["auth"], f"{registry}: {login}")


PARAMETER = "/scheduler/admin-secret"


def first_client(world: World) -> None:
    secret = world.first_secret()
    holds(len(secret) >= 32 and len(set(secret)) > 15, "the secret is short")
    equal(world.host.path(SECRETS / "clients/admin/role").read_text(), "admin\n")
    ssm = world.made.client("ssm")
    [parameter] = ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [PARAMETER]}])["Parameters"]
    equal((parameter["Type"], parameter.get("Tier", "Standard")), ("SecureString", "Standard"))
    equal(ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"], secret)
    kept = world.host.path(SECRETS / "clients/admin/secret")
    for path in world.host.path("").rglob("*"):
        if path.is_file() and not path.is_symlink() and path != kept:
            holds(secret.encode() not in path.read_bytes(), f"the secret is in {path}")
    for place, text in [("the state", world.made.state()), ("the user data", world.made.user_data())]:
        holds(secret not in text, f"the secret is in {place}")
        # They name the place where it is.
        holds(PARAMETER in text or place == "the state", f"{PARAMETER} is not in {place}")


def first_client_stays(world: World) -> None:
    secret = world.first_secret()
    holds(secret not in world.credentials(), "the secret is in the log")
    equal(world.first_secret(), secret)
    shutil.rmtree(world.host.path(SECRETS / "clients"))
    world.credentials()
    equal(world.first_secret(), secret)
    with without_aws(world):
        holds("secret: " in world.credentials(), "the output does not mention that the secret was not checked")
    equal(world.first_secret(), secret)
    other = secrets.token_urlsafe(32)
    world.made.client("ssm").put_parameter(Name=PARAMETER, Value=other, Type="SecureString", Overwrite=True)
    output = world.credentials()
    equal(world.first_secret(), other)
    holds(other not in output and secret not in output, "a secret is in the log")


def first_client_rotates(world: World) -> None:
    """Follows the page: a second parameter, then the first one has its value, then the second one is deleted."""
    ssm, old, new = world.made.client("ssm"), world.first_secret(), secrets.token_urlsafe(32)
    kept, following = world.host.path(SECRETS / "clients/admin/secret"), world.host.path(SECRETS / "clients/admin/secret-next")

    def valid() -> list[str]:
        return [path.read_text().strip() for path in (kept, following) if path.exists()]

    outputs = [world.credentials()]
    equal(valid(), [old])
    ssm.put_parameter(Name=f"{PARAMETER}-next", Value="too-short", Type="SecureString")
    outputs.append(world.credentials())
    holds("fewer than 32 characters" in outputs[-1], outputs[-1])
    equal(valid(), [old])
    ssm.delete_parameter(Name=f"{PARAMETER}-next")
    ssm.put_parameter(Name=f"{PARAMETER}-next", Value=new, Type="SecureString")
    outputs.append(world.credentials())
    equal(valid(), [old, new])
    status = following.stat()
    equal((oct(stat.S_IMODE(status.st_mode)), status.st_uid), ("0o600", 1000))
    with without_aws(world):
        world.credentials()
    equal(valid(), [old, new])
    ssm.put_parameter(Name=PARAMETER, Value=new, Type="SecureString", Overwrite=True)
    outputs.append(world.credentials())
    equal(valid(), [new, new])
    ssm.delete_parameter(Name=f"{PARAMETER}-next")
    outputs.append(world.credentials())
    equal(valid(), [new])
    holds(not any(text in output for output in outputs for text in (old, new)), "a secret is in the log")


def open_to_everyone(world: World) -> None:
    settings, clients = world.host.path("etc/scheduler/host.json"), world.host.path(SECRETS / "clients")
    text = settings.read_text()
    settings.write_text(json.dumps({**json.loads(text), "firstSecret": None}))
    shutil.rmtree(clients)
    try:
        world.credentials()
        holds(not clients.exists(), "there is a client")
    finally:
        settings.write_text(text)
    world.credentials()


def second_run(world: World) -> None:
    before = world.url()
    holds("new password" not in world.credentials(), "a password that works was changed")
    equal(world.url(), before)


def master_rotates(world: World) -> None:
    before, master = world.url(), world.master_secret()
    password = secrets.token_urlsafe(24)
    world.made.client("secretsmanager").put_secret_value(SecretId=world.database["secretArn"], SecretString=json.dumps({**master, "password": password}))
    world.sql(f"ALTER ROLE {master['username']} PASSWORD '{password}'")
    world.credentials()
    equal(world.url(), before)
    # The next renewal uses the new password of the master.
    world.age("run/scheduler/app/database-url", 8 * 86_400)
    world.credentials()
    holds(world.url() != before, "the role kept its password")
    equal(log_in(world), "scheduler_app")


def role_is_repaired(world: World) -> None:
    before = world.url()
    world.sql("ALTER ROLE scheduler_app PASSWORD 'somebody-else-was-here'")
    holds("new password" in world.credentials(), "nothing was repaired")
    holds(world.url() != before, "the file was not written")
    equal(log_in(world), "scheduler_app")


def role_is_renewed(world: World) -> None:
    before = world.url()
    world.age("run/scheduler/app/database-url", 6 * 86_400)
    world.credentials()
    equal(world.url(), before)
    world.age("run/scheduler/app/database-url", 8 * 86_400)
    world.credentials()
    holds(world.url() != before, "the password is older than a week")
    equal(log_in(world), "scheduler_app")


def aws_is_away(world: World) -> None:
    before = world.url()
    world.age("run/scheduler/app/database-url", 8 * 86_400)
    with without_aws(world):
        output = world.credentials()
    holds("database-url" in output, "the output does not mention database-url")
    equal(world.url(), before)
    world.credentials()


def database_is_away(world: World) -> None:
    before = world.url()
    with without_database(world):
        world.credentials()
    equal(world.url(), before)


def impostor(world: World) -> None:
    """Replaces RDS's authority with another one: the login has to stop before it sends a password."""
    before = world.url()
    kept = world.host.path("var/lib/scheduler/rds-ca.pem")
    world.bundle = Authority("Somebody Else").certificate
    world.age("var/lib/scheduler/rds-ca.pem", 40 * 86_400)
    try:
        output = world.credentials()
    finally:
        world.bundle = world.rds.certificate
        kept.unlink()
    holds("certificate verify failed" in output, output)
    equal(world.url(), before)
    world.credentials()


def another_name(world: World) -> None:
    """Simulates an attacker who has a valid RDS certificate for a different database."""
    before = world.url()
    settings, hosts = world.host.path("etc/scheduler/host.json"), world.host.path("etc/hosts")
    text, names = settings.read_text(), hosts.read_text()
    settings.write_text(text.replace(world.database["host"], "another-db.example"))
    hosts.write_text(f"{names}{world.address} another-db.example\n")
    try:
        output = world.credentials()
    finally:
        settings.write_text(text)
        hosts.write_text(names)
    holds("does not match host name" in output, output)
    equal(world.url(), before)


def after_reboot(world: World) -> None:
    shutil.rmtree(world.host.path("run/scheduler"))
    world.credentials()
    equal(log_in(world), "scheduler_app")
    files_are_private(world.host)


def redis_token(world: World) -> None:
    """Applies settings like those of `redis_token_secret_arn`, with a managed Redis, to this host."""
    secrets_manager = world.made.client("secretsmanager")
    arn = secrets_manager.create_secret(Name="token-of-test", SecretString="a token/1")["ARN"]
    settings, address = world.host.path("etc/scheduler/host.json"), world.host.path(SECRETS / "redis-url")
    text = settings.read_text()
    changed = json.loads(text)
    changed["redis"] = {"url": "rediss://cache.example:6379/0", "tokenSecretArn": arn}
    settings.write_text(json.dumps(changed))
    try:
        address.unlink()
        world.credentials()
        equal(address.read_text(), "rediss://:a%20token%2F1@cache.example:6379/0\n")
        files_are_private(world.host)
        secrets_manager.put_secret_value(SecretId=arn, SecretString="a token/2")
        world.credentials()
        equal(address.read_text(), "rediss://:a%20token%2F1@cache.example:6379/0\n")
        world.age("run/scheduler/app/redis-url", 90_000)
        world.credentials()
        equal(address.read_text(), "rediss://:a%20token%2F2@cache.example:6379/0\n")
    finally:
        settings.write_text(text)
        secrets_manager.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    world.credentials()
    equal(address.read_text(), "redis://redis:6379/0\n")


def migrations(world: World) -> None:
    for _ in range(2):
        world.host.run(
            ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--", "node", str(ROOT / "src" / "main.ts"), "migrate"],
            120,
            PATH=f"{ROOT}/node_modules/.bin:/usr/bin:/bin",
            DATABASE_URL_FILE="/run/scheduler/app/database-url",
            DATABASE_CA_FILE="/run/scheduler/app/rds-ca.pem",
            REDIS_URL_FILE="/run/scheduler/app/redis-url",
        )
    equal(world.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'submissions'"), "scheduler_app")
