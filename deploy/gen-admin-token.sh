#!/usr/bin/env bash
# Generate the administration token and the account seed of the Parsec server, once,
# into parsec-admin-token.env in the current folder. When that file is gone it is made again from
# the copies in secrets/.
set -euo pipefail
umask 077
unset OPENSSL_CONF

file=parsec-admin-token.env
names=(PARSEC_ADMINISTRATION_TOKEN PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED)

trap 'rm -f "$file.$$" secrets/*."$$"' EXIT

fail() {
    printf 'gen-admin-token.sh: %s\n' "$1" >&2
    exit 1
}

# usage: copy_of NAME    the file in secrets/ that holds this value alone
copy_of() {
    case $1 in
        PARSEC_ADMINISTRATION_TOKEN) echo secrets/administration-token ;;
        *) echo secrets/account-seed ;;
    esac
}

# usage: value_of NAME    prints the copy of the value, or a new one
value_of() {
    local copy
    copy=$(copy_of "$1")
    if [ -s "$copy" ]; then
        grep -Ex '[0-9a-zA-Z]+' "$copy" || fail "$copy is damaged: restore it or $file from a backup, or delete it to get a new value"
    else
        openssl rand -hex 32
    fi
}

create() {
    local name value how=created
    for name in "${names[@]}"; do
        [ ! -s "$(copy_of "$name")" ] || how="made again from secrets/"
        value=$(value_of "$name")
        echo "$name=$value" >>"$file.$$"
    done
    # A link never replaces a file: of two runs at once one wins, and the other keeps its work.
    ln "$file.$$" "$file"
    echo "$file: $how"
}

check() {
    local name
    for name in "${names[@]}"; do
        grep -Eq "^$name=[0-9a-zA-Z]+$" "$file" ||
            fail "$file has no usable $name: restore the file from a backup, or delete it to have it made again from secrets/"
    done
    chmod 600 "$file"
    echo "$file: kept"
}

if [ -e "$file" ]; then check; else create; fi
mkdir -p secrets
chmod 700 secrets
for name in "${names[@]}"; do
    copy=$(copy_of "$name")
    sed -n "s/^$name=//p" "$file" >"$copy.$$"
    mv "$copy.$$" "$copy"
done
