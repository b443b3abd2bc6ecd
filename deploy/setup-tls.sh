#!/usr/bin/env bash
# Make a CA of your own and, signed by it, a key and certificate for every service that
# speaks TLS, in the current folder. Running it again keeps what is valid and renews the rest.
# TLS_NAMES="parsec.example.com 192.0.2.7" adds names under which clients reach the server.
set -euo pipefail
umask 077

ca_days=3650
days=365
# What ends within this time is renewed.
renew_days=30

fail() {
    printf 'setup-tls.sh: %s\n' "$1" >&2
    exit 1
}

command -v openssl >/dev/null || fail "openssl is missing: install it with this system's package manager"

# Everything is made in here and moved when complete: an interruption leaves nothing half-made.
work=$(mktemp -d ./.setup-tls.XXXXXX 2>/dev/null) || fail "the current folder is not writable"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
# A killed run may have left its folder: those of an earlier day are nobody's any more.
find . -maxdepth 1 -name '.setup-tls.*' -mtime +0 -exec rm -rf {} +

# usage: make_key NAME    an ECDSA key; one that exists is never replaced
make_key() {
    if [ ! -e "$1.key" ]; then
        openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"
        # A link never replaces a file: of two runs at once both go on with the same key.
        ln "$work/$1.key" "$1.key" 2>/dev/null || [ -e "$1.key" ] || fail "$1.key cannot be written"
        echo "$1.key: created"
    fi
    openssl pkey -in "$1.key" -noout 2>/dev/null ||
        fail "$1.key is no usable private key: restore it from a backup, or delete it to get a new one"
    chmod 600 "$1.key"
}

# usage: lasts NAME    does the certificate exist and last?
lasts() {
    openssl x509 -in "$1.crt" -noout -checkend $((renew_days * 86400)) >/dev/null 2>&1
}

make_ca() {
    local state=created
    make_key custom-ca
    if [ -e custom-ca.crt ]; then
        if lasts custom-ca && [ "$(openssl x509 -in custom-ca.crt -noout -pubkey)" = "$(openssl pkey -in custom-ca.key -pubout)" ]; then
            echo "custom-ca.crt: kept"
            return
        fi
        state="renewed, so clients must trust the new one"
    fi
    cat >"$work/ca.cnf" <<'CONFIG'
[req]
prompt = no
distinguished_name = subject
x509_extensions = ca
[subject]
CN = Custom CA of a Parsec test server
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CONFIG
    openssl req -new -x509 -config "$work/ca.cnf" -key custom-ca.key \
        -days "$ca_days" -set_serial "0x$(openssl rand -hex 15)" -out "$work/custom-ca.crt"
    publish custom-ca.crt
    echo "custom-ca.crt: $state"
}

# usage: publish FILE    moves a finished public file into its place
publish() {
    chmod 644 "$work/$1"
    mv -f "$work/$1" "$1"
}

# usage: names_of SERVICE    the names under which it is reached, as subjectAltName wants them
names_of() {
    local name names="DNS:$1,DNS:localhost,IP:127.0.0.1,IP:::1"
    if [ "$1" != parsec-s3 ]; then
        for name in ${TLS_NAMES:-}; do
            case $name in
                *[!0-9A-Za-z.:*-]*) fail "TLS_NAMES: '$name' is neither a host name nor an address" ;;
                *:* | [0-9]*.[0-9]*.[0-9]*.*[0-9]) names="$names,IP:$name" ;;
                *) names="$names,DNS:$name" ;;
            esac
        done
    fi
    echo "$names"
}

# usage: subject_of < TEXT    the key and the names in what openssl prints of a request or certificate
subject_of() {
    awk '/^ *pub:/ { on = 1 } /ASN1 OID|Exponent/ { on = 0 } on; names { print; names = 0 } /Subject Alternative Name/ { names = 1 }' |
        tr -d ' \t'
}

# usage: state_of SERVICE    why its certificate must be issued; "kept" if it need not
state_of() {
    local wanted
    if [ ! -e "$1.crt" ]; then
        echo created
    elif ! lasts "$1"; then
        echo "renewed: it had expired, would soon, or was unreadable"
    elif ! openssl verify -CAfile custom-ca.crt "$1.crt" >/dev/null 2>&1; then
        echo "renewed: another CA had signed it"
    else
        wanted=$(openssl req -in "$work/$1.csr" -noout -text | subject_of)
        if [ "$(openssl x509 -in "$1.crt" -noout -text | subject_of)" = "$wanted" ]; then
            echo kept
        else
            echo "renewed: its names or key have changed"
        fi
    fi
}

make_certificate() {
    local state names
    make_key "$1"
    names=$(names_of "$1")
    cat >"$work/$1.cnf" <<CONFIG
[req]
prompt = no
distinguished_name = subject
req_extensions = request
[subject]
CN = $1
[request]
subjectAltName = $names
[certificate]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $names
CONFIG
    openssl req -new -config "$work/$1.cnf" -key "$1.key" -out "$work/$1.csr"
    state=$(state_of "$1")
    if [ "$state" != kept ] || [ ! -e "$1.csr" ]; then
        openssl x509 -req -in "$work/$1.csr" -CA custom-ca.crt -CAkey custom-ca.key \
            -days "$days" -set_serial "0x$(openssl rand -hex 15)" \
            -extfile "$work/$1.cnf" -extensions certificate -out "$work/$1.crt" 2>/dev/null ||
            fail "openssl could not sign the certificate of $1"
        publish "$1.csr"
        publish "$1.crt"
    fi
    echo "$1.crt: $state"
}

# The server's container runs as user and group 1234: its key is opened to that group. The
# other two run as 1000 and 101, and get their keys as owners. Only root may give files away;
# without Docker nobody needs to.
hand_over_keys() {
    if [ "$(id -u)" = 0 ]; then
        chgrp 1234 parsec-server.key
        chown 1000:1000 parsec-s3.key
        chown 101:101 parsec-proxy.key
    elif ! chgrp 1234 parsec-server.key 2>/dev/null; then
        echo "parsec-server.key: only yours; for Docker, run this script once more as root (sudo)"
        return
    fi
    chmod 640 parsec-server.key
}

make_ca
for service in parsec-s3 parsec-server parsec-proxy; do
    make_certificate "$service" &
    running+=($!)
done
for certificate in "${running[@]}"; do
    wait "$certificate"
done
hand_over_keys
