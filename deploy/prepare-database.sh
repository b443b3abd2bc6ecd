#!/usr/bin/env bash
# Before each start of PostgreSQL: create its data if there are none, and see that the database
# parsec belongs to the role parsec, with all that is in it, and that this role is no superuser.
# usage: prepare-database.sh DATA <PASSWORD    while no server runs on DATA; whatever interrupts it,
#                                              the next run makes it good
set -euo pipefail
umask 077

fail() {
    printf 'prepare-database.sh: %s\n' "$1" >&2
    exit 1
}

data=${1:?name the folder of the data}
IFS= read -r password || true
[[ $password =~ ^[0-9a-zA-Z]+$ ]] || fail "POSTGRES_PASSWORD is not of letters and digits alone"
# What a killed server has left in its lock file may be the number of the process that calls this.
export PG_GRANDPARENT_PID=$PPID

# A folder in which something is mounted cannot be replaced by a complete one: what is complete is
# moved into it, and last of it the file by which PostgreSQL knows its data. Nothing is written
# through to the disk before all is there.
create_data() {
    local part
    if [ ! -e "$data/complete" ]; then
        [ ! -e "$data/global" ] || fail "$data lacks PG_VERSION: it is damaged, and was left as it is"
        rm -rf "$data/new"
        initdb --pgdata="$data/new" --username=postgres --auth=reject --encoding=UTF8 --no-locale --no-instructions --no-sync >/dev/null
        { printf 'CREATE DATABASE parsec;\n\n' && statements; } | run_alone "$data/new" postgres -F >/dev/null
        initdb --pgdata="$data/new" --sync-only
        mv "$data/new" "$data/complete"
        prepared=yes
    fi
    for part in "$data"/complete/*; do
        [ "${part##*/}" = PG_VERSION ] || mv "$part" "$data"
    done
    mv "$data/complete/PG_VERSION" "$data"
}

# usage: run_alone DATA DATABASE [OPTION...] <STATEMENTS    as the superuser that initdb makes, who
#                                          cannot log in; an empty line ends each, an error all.
#                                          Nothing is looked up in what others have made, and no
#                                          password is logged.
run_alone() {
    postgres --single -j -D "$1" -c search_path=pg_catalog -c exit_on_error=on -c log_checkpoints=off \
        -c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic "${@:3}" "$2"
}

create_database() {
    local found
    found=$(run_alone "$data" postgres <<<"SELECT datname FROM pg_database WHERE datname = 'parsec';")
    [[ $found = *'"parsec"'* ]] || run_alone "$data" postgres <<<'CREATE DATABASE parsec;' >/dev/null
}

statements() {
    cat <<'SQL'
DO $$
DECLARE
    change text;
BEGIN
    -- Once that superuser was called parsec. It can lose its name, but none of its rights.
    UPDATE pg_authid SET rolname = 'postgres', rolpassword = NULL, rolcanlogin = false WHERE oid = 10;
    IF to_regrole('parsec') IS NULL THEN
        CREATE ROLE parsec;
    END IF;
    ALTER ROLE parsec LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    ALTER DATABASE parsec OWNER TO parsec;
    -- Lower numbers are the system's own. Indexes, and the sequences and types of tables, follow
    -- their tables.
    FOR change IN
        SELECT format('ALTER %s %s OWNER TO parsec', type, identity)
        FROM (
            SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace
            UNION ALL
            SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
            UNION ALL
            SELECT 'pg_class'::regclass, oid, relowner FROM pg_class
            WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
            UNION ALL
            SELECT 'pg_type'::regclass, t.oid, typowner FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
            WHERE typtype IN ('d', 'e', 'r', 'm') OR relkind = 'c'
        ) AS one (class, id, owner), pg_identify_object(class, id, 0)
        WHERE owner = 10 AND id >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = class AND objid = id
            AND refobjsubid > 0 AND deptype IN ('a', 'i')
        )
    LOOP
        EXECUTE change;
    END LOOP;
END
$$;

SQL
    printf "ALTER ROLE parsec PASSWORD '%s';\n" "$password"
}

mkdir -p "$data"
chmod 700 "$data"
prepared=
[ -e "$data/PG_VERSION" ] || create_data
[ ! -d "$data/complete" ] || rmdir "$data/complete"
if [ -z "$prepared" ]; then
    create_database
    statements | run_alone "$data" parsec >/dev/null
fi
