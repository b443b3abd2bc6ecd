#!/usr/bin/env bash
# Tell how old the last whole backup is; fails if that is more than BACKUP_MAX_AGE hours.
set -euo pipefail
source ./parsec-backup.env

fail() {
    printf 'backup-age.sh: %s\n' "$1" >&2
    exit 1
}

# usage: seconds_of MOMENT    since the epoch
seconds_of() {
    date -u -d "$1" +%s 2>/dev/null || date -j -u -f %Y-%m-%dT%H:%M:%SZ "$1" +%s
}

[[ ${BACKUP_MAX_AGE:-} =~ ^(0|[1-9][0-9]{0,4})$ ]] || fail "parsec-backup.env: BACKUP_MAX_AGE is no number of hours from 0 to 99999"
if [ ! -s last-backup ]; then
    echo "last backup: none so far"
    exit
fi
name=$(sed -n 's/^set //p' last-backup)
began=$(seconds_of "$(sed -n 's/^database-read //p' last-backup)") || fail "last-backup does not say when it was made: delete it and back up"
hours=$((($(date +%s) - began) / 3600))
echo "last backup: $name, $hours h old, in $BACKUP_TARGET"
[ "$BACKUP_MAX_AGE" = 0 ] || [ "$hours" -lt "$BACKUP_MAX_AGE" ] ||
    fail "that is $BACKUP_MAX_AGE h or more: see why no newer one was made, and back up"
