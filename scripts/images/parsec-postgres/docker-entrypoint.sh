#!/usr/bin/env bash
# Start PostgreSQL as the official image does: step down from root, and on an empty
# data folder create the cluster, the user and the database that the environment names.
# The files that are sourced are the reader's own.
# shellcheck disable=SC1090
set -euo pipefail

fail() {
    echo "docker-entrypoint.sh: $*" >&2
    exit 1
}

# usage: from_file NAME [DEFAULT]    sets NAME from the file that NAME_FILE points to, if any
from_file() {
    local name=$1 file_name=$1_FILE value=${2:-}
    if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
        fail "both $name and $file_name are set: unset one"
    elif [ -n "${!name:-}" ]; then
        value=${!name}
    elif [ -n "${!file_name:-}" ]; then
        value=$(<"${!file_name}")
    fi
    export "$name"="$value"
    unset "$file_name"
}

read_settings() {
    from_file POSTGRES_PASSWORD
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS
    [ -n "$POSTGRES_PASSWORD" ] || [ "${POSTGRES_HOST_AUTH_METHOD:-}" = trust ] ||
        fail "the data folder is empty and no password is set: give POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"
}

own_folders() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chown postgres: /var/run/postgresql
    find "$PGDATA" ! -user postgres -exec chown postgres: {} +
}

create_cluster() {
    # Any uid may run this image; initdb wants to know its name.
    local args=()
    read -r -a args <<<"$POSTGRES_INITDB_ARGS"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        "${args[@]}" --pgdata="$PGDATA" --no-instructions
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
}

# usage: sql [OPTION ...]    psql over the socket, as the cluster's owner
sql() {
    PGPASSWORD=$POSTGRES_PASSWORD psql --host=/var/run/postgresql --username="$POSTGRES_USER" \
        --no-psqlrc --no-password --set=ON_ERROR_STOP=1 "$@"
}

create_database() {
    [ "$POSTGRES_DB" = postgres ] ||
        sql --dbname=postgres --set=db="$POSTGRES_DB" <<<'CREATE DATABASE :"db"'
}

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh) if [ -x "$file" ]; then "$file"; else source "$file"; fi ;;
            *.sql) sql --dbname="$POSTGRES_DB" --file="$file" ;;
            *.sql.gz) gunzip --stdout "$file" | sql --dbname="$POSTGRES_DB" ;;
            *.sql.xz) xz --decompress --stdout "$file" | sql --dbname="$POSTGRES_DB" ;;
            *.sql.zst) zstd --decompress --stdout "$file" | sql --dbname="$POSTGRES_DB" ;;
        esac
    done
}

# usage: initialise [OPTION ...]    with the options with which the server will run
initialise() {
    read_settings
    create_cluster
    # Nobody but this script reaches the server while it is being filled.
    pg_ctl --pgdata="$PGDATA" --wait \
        --options="$(printf '%q ' "$@" -c listen_addresses= -c unix_socket_directories=/var/run/postgresql)" start
    create_database
    run_init_files
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
    unset POSTGRES_PASSWORD PGPASSWORD
}

main() {
    [[ "${1:-}" != -* ]] || set -- postgres "$@"
    if [ "$1" = postgres ]; then
        if [ "$(id -u)" = 0 ]; then
            own_folders
            exec gosu postgres "$0" "$@"
        fi
        [ -s "$PGDATA/PG_VERSION" ] || initialise "${@:2}"
    fi
    exec "$@"
}

main "$@"
