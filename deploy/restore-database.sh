#!/usr/bin/env bash
# Put the database back as the set has it that fetch-backup.sh has fetched, wholly or not at all; no
# server may run meanwhile.
# What was there before stays as a schema replaced_..., until drop-replaced.sh.
# usage: restore-database.sh CLIENT...    as check-backup.sh
set -euo pipefail

dump=fetched/database.dump

# usage: statements CLIENT...    one transaction: unless the backup is read to its end nothing
#                                comes of it
statements() {
    cat <<SQL
BEGIN;
ALTER SCHEMA public RENAME TO replaced_$(date +%Y%m%d%H%M%S);
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
SQL
    "$@" pg_restore --no-owner --no-privileges --file=- <"$dump" && echo 'COMMIT;'
}

./check-backup.sh "$dump" "$@"
statements "$@" | "$@" psql --username=parsec --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1 || {
    echo "restore-database.sh: $dump cannot be put into this database, which is as it was" >&2
    exit 1
}
