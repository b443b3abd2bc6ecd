#!/usr/bin/env bash
# Generate the credentials of database, object store and mail catcher, once, into
# parsec-credentials.env in the current folder, and derive from them the files in secrets/.
# When that file is gone it is made again from these: the database keeps its password.
set -euo pipefail
umask 077
unset OPENSSL_CONF

file=parsec-credentials.env
names=(POSTGRES_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY S3_CONSOLE_USER S3_CONSOLE_PASSWORD)
# A file that is older than these lacks them, and is given them.
later=(MAIL_USER MAIL_PASSWORD)
trap 'rm -f "$file.$$" secrets/*."$$"' EXIT

fail() {
    printf 'gen-credentials.sh: %s\n' "$1" >&2
    exit 1
}

# usage: copy_of NAME    the file in secrets/ that holds this value alone, if one does
copy_of() {
    case $1 in
        POSTGRES_PASSWORD) echo secrets/postgres-password ;;
        S3_ACCESS_KEY) echo secrets/s3-access-key ;;
        S3_SECRET_KEY) echo secrets/s3-secret-key ;;
        S3_CONSOLE_PASSWORD) echo secrets/s3-console-password ;;
    esac
}

# usage: generate NAME    prints a value: letters and digits, which need no quotes anywhere
generate() {
    local copy
    copy=$(copy_of "$1")
    if [ -s "${copy:-/nowhere}" ]; then
        grep -Ex '[0-9a-zA-Z]+' "$copy" || fail "$copy is damaged: restore it or $file from a backup"
        return
    fi
    case $1 in
        S3_CONSOLE_USER | MAIL_USER) echo parsec ;;
        S3_ACCESS_KEY) openssl rand -hex 10 ;;
        *) openssl rand -hex 20 ;;
    esac
}

# usage: generate_all NAME...    prints a line for each
generate_all() {
    local name value
    for name; do
        value=$(generate "$name")
        echo "$name=$value"
    done
}

create() {
    local place how=created
    for place in data/postgres made/postgres secrets/postgres-password secrets/s3-access-key; do
        [ ! -e "$place" ] || how="made again from secrets/; the rest is new, so start all anew"
    done
    [ "$how" = created ] || [ -s secrets/postgres-password ] ||
        fail "$file is gone, and so is secrets/postgres-password: restore one from a backup, for whatever uses the old password would be locked out"
    generate_all "${names[@]}" "${later[@]}" >"$file.$$"
    # A link never replaces a file: of two runs at once one wins, and the other keeps its work.
    ln "$file.$$" "$file"
    echo "$file: $how"
}

# usage: require NAME...    each has a value
require() {
    local name
    ! grep -q $'\r' "$file" || fail "$file has lines that end as on Windows: save it with Unix line ends"
    for name; do
        grep -Eq "^$name=[0-9a-zA-Z]+$" "$file" ||
            fail "$file has no usable $name, of letters and digits alone: restore the file from a backup; a new value would not fit the data that exist"
    done
}

# usage: add NAME...    gives the file values for these, below those that it has
add() {
    { grep '' "$file" && generate_all "$@"; } >"$file.$$"
    mv "$file.$$" "$file"
    echo "$file: $* added"
}

check() {
    local name missing=()
    require "${names[@]}"
    for name in "${later[@]}"; do
        if grep -q "^$name=" "$file"; then require "$name"; else missing+=("$name"); fi
    done
    if [ ${#missing[@]} = 0 ]; then echo "$file: kept"; else add "${missing[@]}"; fi
    chmod 600 "$file"
}

# usage: derive NAME    writes standard input to secrets/NAME
derive() {
    cat >"secrets/$1.$$"
    # The folder is closed to other users; the file itself is open, since Docker binds it
    # alone into a container, whose user is another.
    chmod 644 "secrets/$1.$$"
    mv "secrets/$1.$$" "secrets/$1"
}

# The last copy of a password may be that of the database.
keep_earlier() {
    local copy=secrets/postgres-password earlier
    if [ -s "$copy" ] && [[ "$(cat "$copy")" != "$POSTGRES_PASSWORD" ]]; then
        earlier=$copy.$(date +%Y%m%dT%H%M%S)
        ln "$copy" "$earlier"
        echo "$copy: changed; the one before is kept as $earlier"
    fi
}

if [ -e "$file" ]; then check; else create; fi
used=$(cat "$file")
# shellcheck source=/dev/null
source "./$file"

mkdir -p secrets
chmod 700 secrets
keep_earlier
printf '%s' "$POSTGRES_PASSWORD" | derive postgres-password
printf '%s' "$S3_ACCESS_KEY" | derive s3-access-key
printf '%s' "$S3_SECRET_KEY" | derive s3-secret-key
printf '%s' "$S3_CONSOLE_PASSWORD" | derive s3-console-password
derive s3-identities.json <<JSON
{
  "identities": [
    {
      "name": "parsec",
      "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
      "actions": ["Admin"]
    }
  ]
}
JSON
# As a web server keeps a login (htpasswd). A salt protects what can be guessed: this cannot.
printf '%s' "$MAIL_PASSWORD" | openssl passwd -apr1 -salt parsec -stdin | sed "s/^/$MAIL_USER:/" | derive mail-users
# Whoever has this key can read the backups; without it nobody can.
if [ ! -s secrets/backup-key ]; then
    openssl rand -hex 32 | derive backup-key
fi
chmod 600 secrets/backup-key

# Another run has added something meanwhile: follow the file that stays.
[[ "$(cat "$file")" = "$used" ]] || exec bash "$0"
