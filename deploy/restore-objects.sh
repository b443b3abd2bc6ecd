#!/usr/bin/env bash
# Give the object store those objects of the set that fetch-backup.sh has fetched which it lacks. It
# adds, and changes nothing.
# usage: restore-objects.sh
set -euo pipefail
source ./backup-tools.sh
reach_store

require fetched/manifest "run fetch-backup.sh first"
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d ./.fetch.XXXXXX 2>/dev/null) || fail "nothing can be written in $PWD"

# usage: find_lacking    sums and names of what the store lacks, or has in another size
find_lacking() {
    list store:parsec sp >"$work/there" || fail "the object store does not list its objects"
    cut -d ' ' -f 2- fetched/objects | LC_ALL=C sort | LC_ALL=C comm -23 - "$work/there" | cut -d ' ' -f 2- >"$work/lacking"
}

find_lacking
number=$(wc -l <"$work/lacking" | tr -d ' ')
if [ "$number" != 0 ]; then
    # As they were when they were backed up.
    awk 'NR == FNR { lacking[$0]; next } { name = $0; sub(/^[^ ]* [^ ]* /, "", name) } name in lacking { print $1 "  " name }' \
        "$work/lacking" fetched/objects >"$work/sums"
    rclone checksum md5 "$work/sums" "$OBJECTS" --one-way --files-from-raw "$work/lacking" --stats 0 --log-level ERROR ||
        fail "objects in $OBJECTS are not as they were backed up; nothing was changed"
    rclone copy --size-only --immutable --files-from-raw "$work/lacking" --no-traverse --transfers 8 "$OBJECTS" store:parsec ||
        fail "not all objects were put back: run this again"
    find_lacking
    [ ! -s "$work/lacking" ] || fail "the object store still lacks $(wc -l <"$work/lacking" | tr -d ' ') objects of the set"
fi
echo "objects: $number put back, $(($(wc -l <fetched/objects) - number)) were there"
