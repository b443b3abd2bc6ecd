#!/usr/bin/env bash
# Write the database into parsec.dump: beside it first, and into its place when it is whole.
# The backup before stays, under the date at which it was made.
# usage: backup-database.sh CLIENT...    as check-backup.sh
set -euo pipefail
umask 077

dump=parsec.dump
trap 'rm -f "$dump.$$"' EXIT

fail() {
    printf 'backup-database.sh: %s\n' "$1" >&2
    exit 1
}

"$@" pg_dump --username=parsec --format=custom --exclude-schema='replaced_*' >"$dump.$$" ||
    fail "the database was not written to $PWD, whose earlier backups are as they were"
./check-backup.sh "$dump.$$" "$@" || fail "what was written is no backup; earlier ones are as they were"
sync "$dump.$$"
if [ -e "$dump" ]; then
    earlier=parsec.$(date -r "$dump" +%Y%m%dT%H%M%S)
    while [ -e "$earlier.dump" ] && ! cmp -s "$dump" "$earlier.dump"; do
        earlier=$earlier-also
    done
    [ -e "$earlier.dump" ] || ln "$dump" "$earlier.dump" || cp -p "$dump" "$earlier.dump"
fi
mv "$dump.$$" "$dump"
