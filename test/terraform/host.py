"""The host's first boot, as far as it can be had without a machine: its user data is taken from the API, written by
cloud-init's own code into a file system of its own (overlays in a mount namespace), and run there against a metadata
service, an AWS API, a certificate server and a PostgreSQL that demands TLS."""
import contextlib
import http.server
import json
import os
import random
import re
import secrets
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import yaml

from certificates import Authority
from checks import Checks, equal, holds
from deployment import DUMMY_KEYS, ROOT, Deployment
from processes import CommandFailed, accepts, run, server

OVERLAYS = ("etc", "usr", "var", "opt")
TRUST_STORE = "truststore.pki.rds.amazonaws.com"
SECRETS = Path("run/scheduler/app")


class Host:
    """A file system like the host's. What was written stays from one command to the next."""

    def __init__(self, directory: Path):
        self.directory = directory
        for name in (*OVERLAYS, "run"):
            for layer in ("upper", "work"):
                (directory / layer / name).mkdir(parents=True, exist_ok=True)
        self.stubs = directory / "stubs"
        self.stubs.mkdir()
        self.calls = directory / "calls"

    def command(self, command: list[str]) -> list[str]:
        """The command in the host's file system."""
        layers = self.directory
        mounts = [
            f"mount -t overlay overlay -o lowerdir=/{name},upperdir={layers}/upper/{name},workdir={layers}/work/{name} /{name}"
            for name in OVERLAYS
        ]
        script = " && ".join([*mounts, f"mount --bind {layers}/upper/run /run", 'exec "$@"'])
        return ["unshare", "--mount", "--", "bash", "-c", script, "host", *command]

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        path = f"{self.stubs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "CALLS": str(self.calls), **env}

    def run(self, command: list[str], timeout_seconds: int = 60, expect: tuple[int, ...] = (0,), **env: str) -> str:
        return run(self.command(command), timeout_seconds, expect, env=self.environment(env)).stdout

    def path(self, inside: str | Path) -> Path:
        """Where a file lies that was written in there."""
        return self.directory / "upper" / str(inside).lstrip("/")

    def stub(self, name: str, script: str) -> None:
        path = self.stubs / name
        path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "{name} $*" >>"$CALLS"\n{script}\n')
        path.chmod(0o755)

    def take_calls(self) -> list[str]:
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return calls


def check_user_data(checks: Checks, made: Deployment, tools) -> Path:
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


def validate(path: Path, tools) -> None:
    output = run([sys.executable, "-m", "cloudinit.cmd.main", "schema", "--config-file", str(path)], 60, env={**os.environ, "PYTHONPATH": tools.cloud_init}).stdout
    holds("Valid cloud-config" in output, output)


def compose_is_valid(compose: Path, tools) -> None:
    text = run([*tools.compose, "--file", str(compose), "config", "--format", "json"], 60, env={"PATH": os.environ["PATH"], "HOME": str(compose.parent)}).stdout
    services = json.loads(text[text.index("{"):])["services"]
    repository = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    holds(set(services) <= set(repository) - {"postgres"}, f"services: {sorted(services)}")
    equal(services["worker"]["command"], repository["worker"]["command"])


def check_boot(checks: Checks, made: Deployment, user_data: Path, tools, then=None) -> None:
    """The first boot and the life of the secrets; for the variant with Redis in a container. `then` gets the world."""
    host = Host(made.directory / "host")
    if not checks.check("host: cloud-init writes its files, with their rights", lambda: write_files(host, user_data, tools)):
        return
    checks.check("host: systemd accepts the units", lambda: units_are_valid(host))
    checks.check("host: shellcheck has nothing to say about the script of the first boot", lambda: run(["shellcheck", str(host.path("usr/local/sbin/scheduler-install"))], 60))
    checks.check("host: the first boot waits for the packages' mirror, then starts the services", lambda: first_boot(host))
    checks.check("host: it gives up on a mirror that does not come back", lambda: hopeless_boot(host))
    with outside_world(made, host, tools) as world:
        check_secrets(checks, host, world)
        if then is not None:
            then(checks, world)


def write_files(host: Host, user_data: Path, tools) -> None:
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
    # The engine's own unit and program come with its package.
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
        calls[-4:],
        [
            "systemctl restart systemd-journald",
            "systemctl enable --now docker.service scheduler-credentials.timer",
            "systemctl enable scheduler.service",
            "systemctl start --no-block scheduler.service",
        ],
    )


def hopeless_boot(host: Host) -> None:
    host.stub("apt-get", "exit 100")
    output = host.run(["/usr/local/sbin/scheduler-install"], expect=(1,), SCHEDULER_INSTALL_PAUSE="0", SCHEDULER_INSTALL_TRIES="3")
    holds("gave up on the packages after 3 tries" in output, output)
    holds(not any(call.startswith("systemctl") for call in host.take_calls()), "services were started without their packages")


# --- what the host talks to


class World:
    def __init__(self, made: Deployment, host: Host, address: str, tools):
        self.made = made
        self.host = host
        self.address = address
        self.tools = tools
        self.settings = json.loads(host.path("etc/scheduler/host.json").read_text())
        self.database = self.settings["database"]
        self.rds = Authority("Test RDS Root CA")
        self.web = Authority("Test Web Root CA")
        self.bundle = self.rds.certificate
        self.metadata_calls: list[str] = []
        self.account = "postgres" if account_exists("postgres") else "nobody"
        self.directory = made.directory / "world"
        self.directory.mkdir()

    def master_secret(self) -> dict:
        return json.loads(self.made.client("secretsmanager").get_secret_value(SecretId=self.database["secretArn"])["SecretString"])

    def sql(self, statement: str, user: str = "root_of_test", password: str = "", database: str = "scheduler") -> str:
        """Over TLS with the name checked, as the host's own log-ins are."""
        environment = {
            "PATH": os.environ["PATH"], "PGHOST": self.database["host"], "PGHOSTADDR": self.address, "PGPORT": "5432", "PGUSER": user,
            "PGPASSWORD": password or self.superuser_password, "PGDATABASE": database, "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.directory / "rds-ca.pem"), "PGCONNECT_TIMEOUT": "5",
        }
        return run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement], 30, env=environment).stdout.strip()

    def credentials(self, expect: tuple[int, ...] = (0,), **env: str) -> str:
        """Runs the script of the host, with nothing but the metadata service to get keys from."""
        return self.host.run(
            [sys.executable, "/usr/local/sbin/scheduler-credentials"], 120, expect,
            AWS_ENDPOINT_URL=self.made.endpoint,
            AWS_EC2_METADATA_SERVICE_ENDPOINT=f"http://{self.address}:{self.metadata_port}",
            SSL_CERT_FILE=str(self.directory / "web-ca.pem"),
            **env,
        )

    def url(self) -> str:
        return self.host.path(SECRETS / "database-url").read_text().strip()

    def age(self, name: str, seconds: float) -> None:
        path = self.host.path(name)
        then = time.time() - seconds
        os.utime(path, (then, then))


def account_exists(name: str) -> bool:
    return subprocess.run(["id", name], capture_output=True).returncode == 0


@contextlib.contextmanager
def outside_world(made: Deployment, host: Host, tools) -> Iterator[World]:
    # Well-known ports on an address of loopback that nobody else uses.
    address = f"127.{random.randint(64, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
    world = World(made, host, address, tools)
    (world.directory / "rds-ca.pem").write_text(world.rds.certificate)
    (world.directory / "web-ca.pem").write_text(world.web.certificate)
    hosts = Path("/etc/hosts").read_text()
    host.path("etc/hosts").write_text(f"{hosts}\n{address} {world.database['host']} {TRUST_STORE}\n")
    with trust_store(world), metadata_service(world), postgres(world):
        yield world


@contextlib.contextmanager
def serving(handler: type, address: tuple[str, int], context: ssl.SSLContext | None = None) -> Iterator[int]:
    listener = http.server.ThreadingHTTPServer(address, handler)
    if context is not None:
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield listener.server_port
    finally:
        listener.shutdown()
        listener.server_close()


@contextlib.contextmanager
def trust_store(world: World) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = world.bundle.encode() if self.path == "/us-east-1/us-east-1-bundle.pem" else b""
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    certificate, key = world.web.issue(world.directory / "web", TRUST_STORE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(Handler, (world.address, 443), context):
        yield


@contextlib.contextmanager
def metadata_service(world: World) -> Iterator[None]:
    """Version 2 only: without a token, there is no answer."""
    token = secrets.token_hex(16)
    role = "/latest/meta-data/iam/security-credentials/"
    keys = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIATEST", "SecretAccessKey": "test", "Token": "test", "Expiration": "2099-01-01T00:00:00Z"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            self.answer(200 if self.path == "/latest/api/token" else 404, token)

        def do_GET(self):
            world.metadata_calls.append(self.path)
            if self.headers.get("x-aws-ec2-metadata-token") != token:
                self.answer(401, "")
            elif self.path == role:
                self.answer(200, "scheduler-server")
            elif self.path == role + "scheduler-server":
                self.answer(200, json.dumps(keys))
            else:
                self.answer(404, "")

        def answer(self, status: int, body: str):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with serving(Handler, (world.address, 0)) as port:
        world.metadata_port = port
        yield


@contextlib.contextmanager
def postgres(world: World) -> Iterator[None]:
    """Like RDS: its certificate is of a private authority, TLS is demanded, and the master is no superuser."""
    data = world.directory / "postgres"
    data.mkdir()
    world.superuser_password = secrets.token_urlsafe(16)
    password_file = data / "password"
    password_file.write_text(world.superuser_password)
    certificate, key = world.rds.issue(data / "server", world.database["host"])
    for path in (data, password_file, certificate, key):
        shutil.chown(path, world.account)
    # Its owner must be able to reach it.
    for parent in data.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    as_account = ["setpriv", f"--reuid={world.account}", f"--regid={group_of(world.account)}", "--clear-groups", "--"]
    run([*as_account, tools_path("initdb"), "--pgdata", str(data / "data"), "--username=root_of_test", "--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"], 120, cwd="/")
    (data / "data" / "pg_hba.conf").write_text("hostssl all all 0.0.0.0/0 scram-sha-256\n")
    settings = {
        "listen_addresses": world.address, "port": "5432", "unix_socket_directories": "", "ssl": "on",
        "ssl_cert_file": str(certificate), "ssl_key_file": str(key), "log_statement": "ddl", "password_encryption": "scram-sha-256",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    log = world.directory / "postgres.log"

    def is_ready() -> bool:
        if not accepts(world.address, 5432):
            return False
        try:
            return world.sql("SELECT 1", database="postgres") == "1"
        except CommandFailed:
            return False

    with server([*as_account, tools_path("postgres"), "-D", str(data / "data"), *options], is_ready, log, stop_signal=2, cwd="/"):
        master = world.master_secret()
        world.sql(f"CREATE ROLE {master['username']} LOGIN CREATEROLE CREATEDB PASSWORD '{master['password']}'", database="postgres")
        world.sql(f"CREATE DATABASE scheduler OWNER {master['username']}", database="postgres")
        yield


def group_of(account: str) -> str:
    return run(["id", "-g", account], 10).stdout.strip()


def tools_path(name: str) -> str:
    found = shutil.which(name) or next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)
    if found is None:
        raise CommandFailed(f"{name} is not installed")
    return found


# --- the life of the secrets


def check_secrets(checks: Checks, host: Host, world: World) -> None:
    if not checks.check("host: the secrets are fetched with the role of the instance, through version 2 of the metadata service", lambda: first_run(world)):
        return
    checks.check("host: files are 0600 and the image's user's, the directory 0700", lambda: files_are_private(host))
    checks.check("host: the application's role is not the master, and no superuser", lambda: role_is_plain(world))
    checks.check("host: the master's password is in no file, the role's in no log of PostgreSQL", lambda: passwords_stay_inside(world))
    checks.check("host: the registry's log-in is root's alone", lambda: registry_login(world))
    checks.check("host: a second run leaves what works alone", lambda: second_run(world))
    checks.check("host: the master's password may be rotated at any time", lambda: master_rotates(world))
    checks.check("host: a role whose password was changed gets a new one", lambda: role_is_repaired(world))
    checks.check("host: the role's password is renewed after a week", lambda: role_is_renewed(world))
    checks.check("host: while AWS is away, what is there goes on serving", lambda: aws_is_away(world))
    checks.check("host: while the database is away, its password is left alone", lambda: database_is_away(world))
    checks.check("host: a server with another authority's certificate gets no password", lambda: impostor(world))
    checks.check("host: a restart finds nothing below /run and makes it anew", lambda: after_reboot(world))
    checks.check("host: the role can run the migrations, over TLS with the name checked, as the image's user", lambda: migrations(world))


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
    for path in directory.iterdir():
        status = path.stat()
        equal((path.name, oct(stat.S_IMODE(status.st_mode)), status.st_uid), (path.name, "0o600", 1000))
    equal(sorted(path.name for path in directory.iterdir()), ["database-url", "rds-ca.pem", "redis-url"])


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
    # And the next change uses the new one.
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
    endpoint, world.made.endpoint = world.made.endpoint, "http://127.0.0.1:9"
    try:
        output = world.credentials()
    finally:
        world.made.endpoint = endpoint
    holds("database-url" in output, "nothing is said about it")
    equal(world.url(), before)
    world.credentials()


def database_is_away(world: World) -> None:
    before = world.url()
    hosts = world.host.path("etc/hosts")
    text = hosts.read_text()
    hosts.write_text(text.replace(f"{world.address} {world.database['host']}", f"127.0.0.9 {world.database['host']}\n{world.address}"))
    try:
        world.credentials()
    finally:
        hosts.write_text(text)
    equal(world.url(), before)


def impostor(world: World) -> None:
    """Another authority in the place of RDS's: the log-in stops before any password is sent."""
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


def after_reboot(world: World) -> None:
    shutil.rmtree(world.host.path("run/scheduler"))
    world.credentials()
    equal(log_in(world), "scheduler_app")
    files_are_private(world.host)


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
    equal(world.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'tasks'"), "scheduler_app")
