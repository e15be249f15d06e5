#!/bin/bash
# Makes the database at the first start, as the docker-library image does, then becomes the given command.
# Reads POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS and PGDATA.
set -euo pipefail

read_secret() { # NAME: takes the value from the file that NAME_FILE names
  local file_variable="$1_FILE"
  if [ -n "${!file_variable:-}" ]; then
    export "$1=$(<"${!file_variable}")"
  fi
}

make_database() {
  [ -n "${POSTGRES_PASSWORD:-}" ] || { echo "POSTGRES_PASSWORD is not set: the superuser needs a password" >&2; exit 1; }
  # Made aside and moved in with PG_VERSION last, so that an interrupted first start is never taken for a database.
  local fresh=$PGDATA/.new
  if [ -d "$fresh" ]; then
    find "$PGDATA" -mindepth 1 -delete
  fi
  mkdir -p -m 0700 "$PGDATA" "$fresh"
  initdb --pgdata="$fresh" --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all scram-sha-256\n' >> "$fresh/pg_hba.conf"
  run_initial_scripts "$fresh" "$@"
  find "$fresh" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
  mv "$fresh/PG_VERSION" "$PGDATA"
  rmdir "$fresh"
  chmod 0700 "$PGDATA"
}

run_initial_scripts() { # DIRECTORY, COMMAND...
  local data=$1
  shift
  # Listens on the socket only: no client may see the database before it is whole.
  PGUSER=$POSTGRES_USER pg_ctl --pgdata="$data" --silent --wait \
    --options="$(printf '%q ' "${@:2}" -c listen_addresses= -c unix_socket_directories=/var/run/postgresql)" start
  if [ "$POSTGRES_DB" != postgres ]; then
    psql_run --dbname=postgres --set=name="$POSTGRES_DB" <<< 'CREATE DATABASE :"name";'
  fi
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case "$script" in
      *.sh) echo "running $script"; if [ -x "$script" ]; then "$script"; else source "$script"; fi ;;
      *.sql) echo "running $script"; psql_run --dbname="$POSTGRES_DB" --file="$script" ;;
      *.sql.gz) echo "running $script"; gunzip -c "$script" | psql_run --dbname="$POSTGRES_DB" ;;
    esac
  done
  pg_ctl --pgdata="$data" --mode=fast --silent --wait stop
}

psql_run() {
  psql --set=ON_ERROR_STOP=1 --no-psqlrc --no-password --username="$POSTGRES_USER" --host=/var/run/postgresql "$@"
}

main() {
  [ "${1:0:1}" = - ] && set -- postgres "$@"
  if [ "$1" = postgres ]; then
    if [ "$(id -u)" = 0 ]; then
      chown -R postgres:postgres "$PGDATA"
      exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
    fi
    read_secret POSTGRES_PASSWORD
    export POSTGRES_USER="${POSTGRES_USER:-postgres}"
    export POSTGRES_DB="${POSTGRES_DB:-$POSTGRES_USER}"
    [ -s "$PGDATA/PG_VERSION" ] || make_database "$@"
    unset POSTGRES_PASSWORD
  fi
  exec "$@"
}

main "$@"
