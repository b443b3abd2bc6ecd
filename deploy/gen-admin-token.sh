#!/usr/bin/env bash
# Generate the administration token and the account seed of the Parsec server, once,
# into parsec-admin-token.env in the current folder.
set -euo pipefail
umask 077

file=parsec-admin-token.env
names=(PARSEC_ADMINISTRATION_TOKEN PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED)

if [ -e "$file" ]; then
    for name in "${names[@]}"; do
        grep -Eq "^$name=[0-9a-zA-Z]+$" "$file" || {
            echo "gen-admin-token.sh: $file has no usable $name: restore the file from a backup, or delete it to get a new token" >&2
            exit 1
        }
    done
    chmod 600 "$file"
    echo "$file: kept"
    exit
fi

trap 'rm -f "$file.$$"' EXIT
for name in "${names[@]}"; do
    value=$(openssl rand -hex 32)
    echo "$name=$value"
done >"$file.$$"
# A link never replaces a file: of two runs at once one wins, and the other keeps its work.
ln "$file.$$" "$file"
echo "$file: created"
