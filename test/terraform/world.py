"""The servers that the host talks to: a metadata service, RDS's certificates and a PostgreSQL 16 that requires TLS."""
import contextlib
import http.server
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from certificates import Authority
from deployment import Deployment
from host import SECRETS, Host
from processes import CommandFailed, accepts, run, server
from tools import Tools

# Everything runs in a separate network namespace, in which well-known ports are free.
ADDRESS = "127.0.0.2"
# Nothing listens here.
NOWHERE = "http://127.0.0.9:9"
TRUST_STORE = "truststore.pki.rds.amazonaws.com"


class World:
    def __init__(self, made: Deployment, host: Host, tools: Tools):
        self.made = made
        self.host = host
        self.address = ADDRESS
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
        """Runs SQL over TLS with a verified name, like the host's own logins."""
        environment = {
            "PATH": os.environ["PATH"], "PGHOST": self.database["host"], "PGHOSTADDR": self.address, "PGPORT": "5432", "PGUSER": user,
            "PGPASSWORD": password or self.superuser_password, "PGDATABASE": database, "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.directory / "rds-ca.pem"), "PGCONNECT_TIMEOUT": "5",
        }
        return run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement], 30, env=environment).stdout.strip()

    def credentials(self, expect: tuple[int, ...] = (0,), **env: str) -> str:
        """Runs the script of the host, which can get AWS keys only from the metadata service."""
        return self.host.run(
            [sys.executable, "/usr/local/sbin/scheduler-credentials"], 120, expect,
            AWS_ENDPOINT_URL=self.made.endpoint,
            AWS_EC2_METADATA_SERVICE_ENDPOINT=f"http://{self.address}:{self.metadata_port}",
            SSL_CERT_FILE=str(self.directory / "web-ca.pem"),
            **env,
        )

    def url(self) -> str:
        return self.host.path(SECRETS / "database-url").read_text().strip()

    def first_secret(self) -> str:
        return self.host.path(SECRETS / "clients/admin/secret").read_text().strip()

    def age(self, name: str, seconds: float) -> None:
        path = self.host.path(name)
        then = time.time() - seconds
        os.utime(path, (then, then))


def account_exists(name: str) -> bool:
    return subprocess.run(["id", name], capture_output=True).returncode == 0


@contextlib.contextmanager
def outside_world(made: Deployment, host: Host, tools: Tools) -> Iterator[World]:
    world = World(made, host, tools)
    (world.directory / "rds-ca.pem").write_text(world.rds.certificate)
    (world.directory / "web-ca.pem").write_text(world.web.certificate)
    hosts = Path("/etc/hosts").read_text()
    host.path("etc/hosts").write_text(f"{hosts}\n{world.address} {world.database['host']} {TRUST_STORE}\n")
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
    """Runs a metadata service of version 2, which refuses requests without a token."""
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
    """Runs a PostgreSQL like RDS: with a certificate of a private authority, with TLS only, and a master without
    superuser rights."""
    data = world.directory / "postgres"
    data.mkdir()
    world.superuser_password = secrets.token_urlsafe(16)
    password_file = data / "password"
    password_file.write_text(world.superuser_password)
    certificate, key = world.rds.issue(data / "server", world.database["host"])
    for path in (data, password_file, certificate, key):
        shutil.chown(path, world.account)
    # The server's account must be able to reach the directory.
    for parent in data.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    as_account = ["setpriv", f"--reuid={world.account}", f"--regid={group_of(world.account)}", "--clear-groups", "--"]
    run([*as_account, str(world.tools.postgres / "initdb"), "--pgdata", str(data / "data"), "--username=root_of_test", "--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"], 120, cwd="/")
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

    with server([*as_account, str(world.tools.postgres / "postgres"), "-D", str(data / "data"), *options], is_ready, log, stop_signal=2, cwd="/"):
        master = world.master_secret()
        world.sql(f"CREATE ROLE {master['username']} LOGIN CREATEROLE CREATEDB PASSWORD '{master['password']}'", database="postgres")
        world.sql(f"CREATE DATABASE scheduler OWNER {master['username']}", database="postgres")
        yield


def group_of(account: str) -> str:
    return run(["id", "-g", account], 10).stdout.strip()
