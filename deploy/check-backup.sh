#!/usr/bin/env bash
# See that a file is a whole backup of the Parsec server's database; it changes nothing.
# usage: check-backup.sh FILE CLIENT...    CLIENT runs PostgreSQL's programs: ./database-client, or
#                                          docker compose ... exec --no-TTY parsec-postgres
set -euo pipefail

dump=${1:?name the file, then what runs the programs of PostgreSQL}
shift

fail() {
    printf 'check-backup.sh: %s\n' "$1" >&2
    exit 1
}

[ -s "$dump" ] || fail "$dump is missing or empty: there is no backup to restore"
"$@" pg_restore --version >/dev/null || fail "the programs of PostgreSQL cannot be run: $*"
content=$("$@" pg_restore --list <"$dump") || fail "$dump is no backup, or its beginning is damaged: use another"
for table in migration organization; do
    [[ $content = *" TABLE DATA public $table "* ]] ||
        fail "$dump has no table $table: it is no backup of a Parsec server's database"
done
# This reads and unpacks it all.
"$@" pg_restore --file=/dev/null <"$dump" || fail "$dump is damaged or cut short: use another"
