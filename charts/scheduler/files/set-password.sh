# set-password.sh: sets the user's password to the one in the Secret before PostgreSQL starts on an existing volume. The
# image itself sets the password only on an empty volume, so PostgreSQL would never accept a password that changed later.
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
# Do not run this in a pipe or subshell. A stale lock file may hold the id of this shell, and PostgreSQL ignores it only
# if the shell is its direct parent.
postgres --single -D "$PGDATA" -c log_statement=none -c log_min_error_statement=panic postgres </tmp/commands.sql >/tmp/answers
for kind in user database; do
  grep -q "\"$kind found\"" /tmp/answers && continue
  echo "The volume of PostgreSQL was made with another $kind than POSTGRES_USER=$POSTGRES_USER and POSTGRES_DB=$POSTGRES_DB:" \
    "set postgresql.auth back to the former values, or delete the volume claim, which deletes all tasks." >&2
  exit 1
done
