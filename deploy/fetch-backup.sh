#!/usr/bin/env bash
# Fetch a set of the backups into the folder fetched/, and see that it is whole: its files as they
# were written, and all its objects. Nothing else is changed.
# usage: fetch-backup.sh [SET]    by its name; without one, the newest
set -euo pipefail
source ./backup-tools.sh

name=${1:-newest}
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d ./.fetch.XXXXXX 2>/dev/null) || fail "nothing can be written in $PWD"
find . -maxdepth 1 -name '.fetch.*' -mtime +0 -exec rm -rf {} +

if [ "$name" = newest ]; then
    sets=$(whole_sets)
    name=${sets##*$'\n'}
    [ -n "$name" ] || fail "there is no backup in $BACKUP_TARGET"
fi
[[ $name =~ ^[0-9]{8}T[0-9]{6}Z$ ]] || fail "'$name' is no name of a set, such as 20260131T023000Z"
rclone copy "sets:$name" "$work" || fail "$name cannot be read from $BACKUP_TARGET with the key in secrets/backup-key"
[ -s "$work/manifest" ] || fail "$name in $BACKUP_TARGET has no manifest: it was not finished; use another"
grep -qx "set $name" "$work/manifest" || fail "the manifest of $name is of another set; use another"
for file in database.dump objects settings.tar; do
    [ -e "$work/$file" ] || fail "$file of $name is missing; use another set"
    grep -qsx "sha256 $(digest_of <"$work/$file") $file" "$work/manifest" ||
        fail "$file of $name is damaged; use another set"
done
list "$OBJECTS" sp >"$work/there" || fail "the objects in $OBJECTS cannot be listed"
lacking=$(cut -d ' ' -f 2- "$work/objects" | LC_ALL=C sort | LC_ALL=C comm -23 - "$work/there" | wc -l | tr -d ' ')
[ "$lacking" = 0 ] || fail "$lacking objects of $name are missing or damaged in $OBJECTS; use another set"
rm "$work/there"

rm -rf fetched.old
[ ! -e fetched ] || mv fetched fetched.old
mv "$work" fetched
rm -rf fetched.old
moment=$(sed -n 's/^database-read //p' fetched/manifest)
echo "$name: whole, with the database of $moment and $(wc -l <fetched/objects | tr -d ' ') objects"
