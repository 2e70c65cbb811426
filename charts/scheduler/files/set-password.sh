# set-password.sh: gives the user of a volume that is in use already the password of the Secret, before PostgreSQL starts. The
# image itself sets it once, on an empty volume, and a password that changed later would never be accepted.
set -eu
[ -s "$PGDATA/PG_VERSION" ] || exit 0
password=$(printf %s "$POSTGRES_PASSWORD" | sed "s/'/''/g")
umask 077
trap 'rm -f /tmp/commands.sql' EXIT
cat >/tmp/commands.sql <<END
SELECT 'user found' FROM pg_roles WHERE rolname = '$POSTGRES_USER'
SELECT 'database found' FROM pg_database WHERE datname = '$POSTGRES_DB'
ALTER ROLE "$POSTGRES_USER" PASSWORD '$password'
END
# Not in a pipe or subshell: PostgreSQL takes a stale lock of another process for its own only if that is its parent.
postgres --single -D "$PGDATA" -c log_statement=none -c log_min_error_statement=panic postgres </tmp/commands.sql >/tmp/answers
for kind in user database; do
  grep -q "\"$kind found\"" /tmp/answers && continue
  echo "The volume of PostgreSQL was made with another $kind than POSTGRES_USER=$POSTGRES_USER and POSTGRES_DB=$POSTGRES_DB:" \
    "set postgresql.auth back to the former values, or delete the volume claim (and with it all tasks)." >&2
  exit 1
done
