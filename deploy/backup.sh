#!/usr/bin/env bash
# Back everything up while the server works: the database, the objects, and the keys, credentials and
# settings of this folder. What is written is a set; it counts from the moment at which it has its
# manifest, which comes last, when all the rest has been read back. Whatever ends this, the sets
# before stay as they were, and the next run uses what has been copied.
# usage: backup.sh CLIENT...    CLIENT runs PostgreSQL's programs: ./database-client, or
#                               docker compose ... exec --no-TTY parsec-postgres
set -euo pipefail
source ./backup-tools.sh
reach_store

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d ./.backup.XXXXXX 2>/dev/null) || fail "nothing can be written in $PWD"
# A killed run has left its folder: those of an earlier day are nobody's any more.
find . -maxdepth 1 -name '.backup.*' -mtime +0 -exec rm -rf {} +
name=$(date -u +%Y%m%dT%H%M%SZ)

# usage: put FILE    into the set, and read it back; what a run of the same second has put there stays
put() {
    rclone copyto --immutable "$work/$1" "sets:$name/$1" || fail "$BACKUP_TARGET did not take $1; earlier sets are as they were"
    [[ $(rclone cat "sets:$name/$1" | digest_of) = $(digest_of <"$work/$1") ]] ||
        fail "$BACKUP_TARGET gives back another $1 than it took; earlier sets are as they were"
}

# An object too many does no harm, one too few is a damaged file: so the database comes first.
dump_database() {
    "$@" pg_dump --username=parsec --format=custom --exclude-schema='replaced_*' >"$work/database.dump" ||
        fail "the database was not read, or $PWD is full; earlier sets are as they were"
    ./check-backup.sh "$work/database.dump" "$@" || fail "what the database gave is no backup; earlier sets are as they were"
}

# The list comes into the set at once: it shows other runs that this one is at work.
copy_objects() {
    list store:parsec hsp >"$work/objects" || fail "the object store does not list its objects; earlier sets are as they were"
    put objects
    rclone mkdir "$OBJECTS" || fail "$BACKUP_TARGET cannot be written to; earlier sets are as they were"
    # What is there already is not read again. The server never changes an object: one of another
    # size is damaged, here or there.
    rclone copy --size-only --immutable --use-server-modtime --fast-list --transfers 8 store:parsec "$OBJECTS" ||
        fail "not all objects were copied to $OBJECTS; earlier sets are as they were"
    list "$OBJECTS" sp >"$work/copied"
    [ -z "$(cut -d ' ' -f 2- "$work/objects" | LC_ALL=C sort | LC_ALL=C comm -23 - "$work/copied" | head -c 1)" ] ||
        fail "$OBJECTS lacks objects that were copied there; earlier sets are as they were"
}

pack_settings() {
    find -L . -maxdepth 1 -type f ! -name .lock ! -name 'parsec*.dump*' -print0 >"$work/names"
    printf '%s\0' ./secrets >>"$work/names"
    tar --create --dereference --null --files-from "$work/names" --file "$work/settings.tar" ||
        fail "the settings were not read, or $PWD is full; earlier sets are as they were"
}

# usage: server_version    as the files of either way name it
server_version() {
    cat requirements-native.txt parsec-server.docker.yaml 2>/dev/null |
        sed -n -e 's/^parsec-cloud==\([^ ;]*\).*/\1/p' -e 's|^ *image: .*/parsec-server:||p' | sed -n 1p || true
}

# usage: describe CLIENT...    what restoring asks for before it begins
describe() {
    local file
    echo "set $name"
    echo "database-read $began"
    echo "server $(server_version)"
    echo "postgresql $("$@" pg_dump --version | sed 's/.* \([0-9][0-9.]*\).*/\1/')"
    "$@" pg_restore --data-only --table=migration --file=- <"$work/database.dump" | awk -F '\t' '/^[0-9]+\t/ { print "migration", $2 }'
    awk '{ bytes += $2 } END { printf "objects %d %.0f\n", NR, bytes }' "$work/objects"
    for file in database.dump objects settings.tar; do
        echo "sha256 $(digest_of <"$work/$file") $file"
    done
}

# usage: survey    which sets are whole, and which have no manifest
survey() {
    whole_sets >"$work/whole"
    grep -qx "$name" "$work/whole" || fail "$BACKUP_TARGET does not list $name, which was just written there; nothing was removed"
    rclone lsf --dirs-only sets: | tr -d / | LC_ALL=C sort >"$work/all"
    LC_ALL=C comm -23 "$work/all" "$work/whole" >"$work/unfinished"
}

# usage: before NUMBER    the name that a set of so many days ago would have
before() {
    date -u -d "$1 days ago" +%Y%m%dT%H%M%SZ 2>/dev/null || date -u -v "-$1d" +%Y%m%dT%H%M%SZ
}

# usage: too_old    those that need not be kept; what has no manifest after a day was interrupted
too_old() {
    awk -v keep="$BACKUP_KEEP" -v border="$(before "$BACKUP_KEEP_DAYS")" '
        { name[NR] = $0 } END { for (n = 1; n <= NR - keep; n++) if (name[n] < border) print name[n] }' "$work/whole"
    awk -v border="$(before 1)" '$0 < border' "$work/unfinished"
}

# usage: remove_sets <NAMES    the manifest first: without it a set does not count any more
remove_sets() {
    local one
    while IFS= read -r one; do
        rclone delete --include /manifest "sets:$one"
        rclone purge "sets:$one"
    done
}

# An object that the store has no more stays as long as a set names it, and while another run writes.
remove_objects() {
    local one
    [ ! -s "$work/unfinished" ] || return 0
    while IFS= read -r one; do
        rclone cat "sets:$one/objects" </dev/null
    done <"$work/whole" | cut -d ' ' -f 3- | LC_ALL=C sort -u >"$work/wanted"
    list "$OBJECTS" p >"$work/there"
    LC_ALL=C comm -13 "$work/wanted" "$work/there" >"$work/unwanted"
    [ ! -s "$work/unwanted" ] || rclone delete --files-from-raw "$work/unwanted" "$OBJECTS"
}

began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
dump_database "$@"
pack_settings
copy_objects
describe "$@" >"$work/manifest"
for file in database.dump settings.tar manifest; do
    put "$file"
done
read -r _ number size < <(grep '^objects ' "$work/manifest")
echo "$name: whole, with $number objects of $size bytes, in $BACKUP_TARGET"

cp "$work/manifest" "$work/last-backup"
mv "$work/last-backup" last-backup

survey
too_old >"$work/old"
if [ -s "$work/old" ]; then
    remove_sets <"$work/old"
    survey
    remove_objects
    echo "older sets removed: $(wc -l <"$work/old" | tr -d ' ')"
fi
