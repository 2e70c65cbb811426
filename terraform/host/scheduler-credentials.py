#!/usr/bin/python3
"""Keeps the secrets of the scheduler's containers in files below /run, with the rights of the host's role.

It runs before every start and every ten minutes. It replaces a file only if the file is too old or no longer works:

  rds-ca.pem     certificate authorities of RDS in this region, fetched once a month
  database-url   address and password of the application's role, 0600. This script generates the password. It
                 fetches the master's secret, which RDS changes every week, only to set the password
  redis-url      address of Redis, with its token if there is one, 0600
  clients/admin  the first client of the API: its secret and its role, 0600. This script generates the secret once and
                 keeps it in SSM Parameter Store, so that the next host has the same. If somebody changes the parameter,
                 the file follows. During a rotation, a second parameter has the next secret, and both are valid
  docker/        log-in to the image's registry, if that is ECR

The settings are in /etc/scheduler/host.json. The exit code is 1 if a file is missing afterwards.
"""
import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

SETTINGS = Path("/etc/scheduler/host.json")
RUN = Path("/run/scheduler")
STATE = Path("/var/lib/scheduler")

APP_UID = 1000  # the image's user
DAY_SECONDS = 86_400
PASSWORD_MAX_AGE = 7 * DAY_SECONDS
TOKEN_MAX_AGE = DAY_SECONDS
CA_MAX_AGE = 30 * DAY_SECONDS
# ECR's tokens are valid for 12 hours.
REGISTRY_LOGIN_MAX_AGE = 6 * 3_600
# What the API takes as a secret of a client in files has at least this many characters.
SECRET_MIN = 32
ECR = re.compile(r"^[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com$")


def main() -> int:
    settings = json.loads(SETTINGS.read_text())
    RUN.mkdir(mode=0o711, parents=True, exist_ok=True)
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    # The timer and a start of the service may run this script at the same time.
    with open(RUN / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return keep_all(settings)


def keep_all(settings: dict) -> int:
    directory = Path(settings["secretsDirectory"])
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(directory, APP_UID, APP_UID)
    steps = [
        (keep_authorities, directory / "rds-ca.pem"),
        (keep_database_url, directory / "database-url"),
        (keep_redis_url, directory / "redis-url"),
        (keep_registry_login, RUN / "docker" / "config.json"),
    ]
    if settings["firstSecret"] is not None:
        steps.append((keep_first_client, directory / "clients" / "admin" / "secret"))
    code = 0
    for keep, path in steps:
        try:
            keep(settings, path)
        except Exception as error:  # existing files stay in use while AWS is not reachable
            print(f"{path.name}: {type(error).__name__}: {error} {getattr(error, 'stderr', '')}".rstrip(), file=sys.stderr)
            if not path.exists():
                code = 1
    return code


def keep_authorities(settings: dict, path: Path) -> None:
    kept = STATE / "rds-ca.pem"
    if not is_young(kept, CA_MAX_AGE):
        try:
            with urllib.request.urlopen(settings["database"]["caUrl"], timeout=20) as answer:
                bundle = answer.read(1_000_000).decode("ascii")
            if "-----BEGIN CERTIFICATE-----" not in bundle:
                raise ValueError("the answer holds no certificate")
            write(kept, bundle, mode=0o644, uid=0)
        except Exception as error:
            if not kept.exists():
                raise
            print(f"certificates of RDS not renewed: {error}", file=sys.stderr)
    bundle = kept.read_text()
    if not path.exists() or path.read_text() != bundle:
        write(path, bundle)


def keep_database_url(settings: dict, path: Path) -> None:
    database = settings["database"]
    if is_young(path, PASSWORD_MAX_AGE) and answers(database, path):
        return
    master = json.loads(secret(settings, database["secretArn"]))
    password = secrets.token_urlsafe(32)
    run_sql(database, master["username"], master["password"], role_statements(database, password))
    # Until the next write, the file has the old password. The application reads the file again when a log-in fails.
    address = f"{database['host']}:{database['port']}/{database['name']}"
    write(path, f"postgresql://{database['role']}:{password}@{address}?sslmode=verify-full\n")
    print("database-url: the application's role has a new password")


def answers(database: dict, path: Path) -> bool:
    """Tells whether the role can still log in. Its password may have changed, or a snapshot was restored."""
    password = urllib.parse.urlsplit(path.read_text().strip()).password or ""
    try:
        run_sql(database, database["role"], password, "SELECT 1")
        return True
    except subprocess.CalledProcessError as error:
        # If the database is not reachable, a new password is not needed and could not be set.
        if "password authentication failed" in error.stderr or "does not exist" in error.stderr:
            return False
        raise


def role_statements(database: dict, password: str) -> str:
    role = database["role"]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", role) or not re.fullmatch(r"[a-z][a-z0-9_]*", database["name"]):
        raise ValueError("unexpected characters in the name of role or database")
    # The statement contains the verifier instead of the password, so that no log of the server can contain the password.
    return f"""
      SELECT 'CREATE ROLE {role}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec
      ALTER ROLE {role} LOGIN PASSWORD '{scram_verifier(password)}';
      GRANT CONNECT ON DATABASE {database['name']} TO {role};
      GRANT USAGE, CREATE ON SCHEMA public TO {role};
    """


def scram_verifier(password: str, iterations: int = 4096) -> str:
    """Returns a SCRAM-SHA-256 verifier in the form that PostgreSQL stores (RFC 5803)."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encode = lambda value: base64.b64encode(value).decode()
    return f"SCRAM-SHA-256${iterations}:{encode(salt)}${encode(stored_key)}:{encode(server_key)}"


def run_sql(database: dict, user: str, password: str, statements: str) -> None:
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C.UTF-8",
        "PGHOST": database["host"],
        "PGPORT": str(database["port"]),
        "PGDATABASE": database["name"],
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(STATE / "rds-ca.pem"),
        "PGCONNECT_TIMEOUT": "10",
        "PGOPTIONS": "-c statement_timeout=15000",
        "PGAPPNAME": "scheduler-credentials",
    }
    command = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--file=-"]
    subprocess.run(command, input=statements, env=environment, check=True, capture_output=True, text=True, timeout=40)


def keep_redis_url(settings: dict, path: Path) -> None:
    redis = settings["redis"]
    if redis["tokenSecretArn"] is None:
        wanted = redis["url"]
    elif is_young(path, TOKEN_MAX_AGE):
        return
    else:
        token = urllib.parse.quote(secret(settings, redis["tokenSecretArn"]), safe="")
        wanted = redis["url"].replace("://", f"://:{token}@", 1)
    write(path, wanted + "\n")


def keep_first_client(settings: dict, path: Path) -> None:
    for directory in (path.parent.parent, path.parent):
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, APP_UID, APP_UID)
    # A rotation first makes the next secret the first one and then deletes its parameter. Read in the other order, so that
    # one of the two always has the new secret.
    problem = None
    try:
        following = next_secret(settings)
    except ValueError as error:  # the first secret does not wait until somebody corrects the next one
        following, problem = None, error
    text = first_secret(settings)
    # Without its role, the client could do less.
    write(path.with_name("role"), "admin\n")
    if following is not None:
        keep(path.with_name("secret-next"), following)
    keep(path, text)
    if following is None:
        path.with_name("secret-next").unlink(missing_ok=True)
    if problem is not None:
        raise problem


def keep(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text + "\n":
        write(path, text + "\n")


def next_secret(settings: dict) -> str | None:
    """Returns the secret that is to replace the first one; None outside of rotations."""
    parameters, name = client(settings, "ssm"), settings["firstSecret"] + "-next"
    try:
        text = parameters.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except parameters.exceptions.ParameterNotFound:
        return None
    # The API would leave out the whole client.
    if len(text.strip()) < SECRET_MIN:
        raise ValueError(f"{name} has fewer than {SECRET_MIN} characters")
    return text


def first_secret(settings: dict) -> str:
    parameters, name = client(settings, "ssm"), settings["firstSecret"]
    try:
        return parameters.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except parameters.exceptions.ParameterNotFound:
        text = secrets.token_urlsafe(32)
    try:
        parameters.put_parameter(Name=name, Value=text, Type="SecureString", Description="Secret of the scheduler's first client, admin")
    except parameters.exceptions.ParameterAlreadyExists:  # another host was faster
        return parameters.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    print(f"{name}: the first client has a secret")
    return text


def keep_registry_login(settings: dict, path: Path) -> None:
    registry = settings["registry"]
    if not ECR.match(registry):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write(path, "{}\n", uid=0)
        return
    if is_young(path, REGISTRY_LOGIN_MAX_AGE):
        return
    answer = client(settings, "ecr").get_authorization_token()
    login = {"auths": {registry: {"auth": answer["authorizationData"][0]["authorizationToken"]}}}
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write(path, json.dumps(login), uid=0)


def secret(settings: dict, arn: str) -> str:
    return client(settings, "secretsmanager").get_secret_value(SecretId=arn)["SecretString"]


def client(settings: dict, service: str):
    patience = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 4, "mode": "standard"})
    return boto3.client(service, region_name=settings["region"], config=patience)


def is_young(path: Path, max_age_seconds: int) -> bool:
    try:
        return time.time() - path.stat().st_mtime < max_age_seconds
    except FileNotFoundError:
        return False


def write(path: Path, text: str, mode: int = 0o600, uid: int = APP_UID) -> None:
    """Replaces a file atomically, so that a reader sees either the old or the new one."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), uid, uid)
    os.replace(draft, path)


if __name__ == "__main__":
    sys.exit(main())
