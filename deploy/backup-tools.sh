# shellcheck shell=bash
# What the scripts of the backups have in common; they source it. For rclone the object store is
# store: and what is encrypted in the backups is sets:. It gets their settings by its environment,
# which no other user can read, and no settings from elsewhere.
umask 077
# What this shell has for other purposes.
unset OPENSSL_CONF TAR_OPTIONS "${!RCLONE_@}" "${!AWS_@}"
script=${0##*/}

fail() {
    printf '%s: %s\n' "$script" "$1" >&2
    exit 1
}

# usage: require FILE REMEDY
require() {
    [ -s "$1" ] || fail "$PWD/$1 is missing or empty: $2"
}

# usage: digest_of <FILE
digest_of() {
    openssl dgst -sha256 -r | cut -d ' ' -f 1
}

# usage: reach_store    those who need it: its keys are in the credentials
reach_store() {
    require parsec-credentials.env "run gen-credentials.sh first"
    # shellcheck source=/dev/null
    source ./parsec-credentials.env
    export RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Other RCLONE_CONFIG_STORE_REGION=us-east-1
    export RCLONE_CONFIG_STORE_ENDPOINT=${S3_ENDPOINT:-https://localhost:${STACK_S3_PORT:-9000}}
    export RCLONE_CONFIG_STORE_ACCESS_KEY_ID=$S3_ACCESS_KEY RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY=$S3_SECRET_KEY
    export RCLONE_CONFIG_STORE_FORCE_PATH_STYLE=true RCLONE_CONFIG_STORE_NO_CHECK_BUCKET=true
}

# usage: list PLACE FORMAT    every object there, sorted; FORMAT as rclone lsf has it
list() {
    rclone lsf --recursive --files-only --fast-list --separator ' ' --format "$2" --hash MD5 "$1" | LC_ALL=C sort
}

# usage: whole_sets    those that have a manifest, oldest first
whole_sets() {
    local found status=0
    found=$(rclone lsf --recursive --files-only --max-depth 2 --include '/*/manifest' sets:) || status=$?
    # This status of rclone says that there is no such folder.
    [ "$status" = 0 ] || [ "$status" = 3 ] || fail "$BACKUP_TARGET cannot be read, for the reason above"
    printf '%s' "$found" | cut -d / -f 1 | LC_ALL=C sort
}

command -v rclone >/dev/null || fail "rclone is missing: install it with this system's package manager"
require parsec-backup.env "copy it from the guide"
source ./parsec-backup.env
[[ -n ${BACKUP_TARGET:-} ]] || fail "parsec-backup.env names no BACKUP_TARGET"
[[ ${BACKUP_KEEP:-} =~ ^[1-9][0-9]{0,3}$ ]] || fail "parsec-backup.env: BACKUP_KEEP is no number from 1 to 9999"
[[ ${BACKUP_KEEP_DAYS:-} =~ ^(0|[1-9][0-9]{0,3})$ ]] || fail "parsec-backup.env: BACKUP_KEEP_DAYS is no number from 0 to 9999"
require secrets/backup-key "it is the key of the backups: put back yours, or run gen-credentials.sh for a new one"

export RCLONE_CONFIG=/notfound RCLONE_CA_CERT=custom-ca.crt
# Who does not answer is asked again, but not for minutes.
export RCLONE_RETRIES=2 RCLONE_LOW_LEVEL_RETRIES=3 RCLONE_CONTIMEOUT=15s RCLONE_TIMEOUT=2m
[ ! -e rclone.conf ] || RCLONE_CONFIG=rclone.conf
case $BACKUP_TARGET in
    /* | ./*) folder=$BACKUP_TARGET/ ;;
    *:) folder=$BACKUP_TARGET ;;
    *) folder=$BACKUP_TARGET/ ;;
esac
if [[ $BACKUP_TARGET =~ ^[^/]*: ]] && [ -e "${BACKUP_CAS:-}" ]; then
    RCLONE_CA_CERT=$RCLONE_CA_CERT,$BACKUP_CAS
fi
# Used by the scripts.
export OBJECTS=${folder}objects
export RCLONE_CONFIG_SETS_TYPE=crypt RCLONE_CONFIG_SETS_REMOTE=${folder}sets
export RCLONE_CONFIG_SETS_FILENAME_ENCRYPTION=off RCLONE_CONFIG_SETS_DIRECTORY_NAME_ENCRYPTION=false
RCLONE_CONFIG_SETS_PASSWORD=$(rclone obscure - <secrets/backup-key)
export RCLONE_CONFIG_SETS_PASSWORD
