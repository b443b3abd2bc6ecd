#!/usr/bin/env bash
# Make a CA of your own and, signed by it, a key and certificate for every service that
# speaks TLS, in the current folder. Running it again keeps what is valid and renews the rest;
# a certificate that this script has not made is never replaced.
# TLS_NAMES="parsec.example.com 192.0.2.7" adds names under which clients reach the server.
set -euo pipefail
umask 077
unset OPENSSL_CONF
# Here the CA of this folder counts, and none of those that this system trusts.
export SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/dev/null

services=(parsec-postgres parsec-s3 parsec-s3-inner parsec-smtp parsec-server parsec-proxy)
ca_days=3650
days=365
# What ends within this time is renewed.
renew_days=30
# The fingerprints of the certificates that this script has made: these alone it replaces.
record=issued-certificates.txt

fail() {
    printf 'setup-tls.sh: %s\n' "$1" >&2
    exit 1
}

# usage: is_ipv4 TEXT
is_ipv4() {
    local part
    [[ $1 =~ ^([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})$ ]] || return 1
    for part in "${BASH_REMATCH[@]:1}"; do
        [ "$((10#$part))" -le 255 ] && [ "$part" = "$((10#$part))" ] || return 1
    done
}

# usage: is_ipv6 TEXT    up to eight groups of hexadecimal digits, one row of zeros left out
is_ipv6() {
    local colons=${1//[!:]/} without=${1/::/:}
    [[ $1 =~ ^([0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}$ ]] || return 1
    [[ $1 != *:::* && $without != *::* ]] || return 1
    if [[ $1 == *::* ]]; then return; fi
    [[ ${#colons} = 7 && $1 != :* && $1 != *: ]]
}

# usage: is_host_name TEXT    its last part is no number, or it would be taken for an address
is_host_name() {
    local label='[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?'
    [[ ${#1} -le 253 && $1 =~ ^(\*\.)?($label\.)*$label$ && ! $1 =~ (^|\.)[0-9]+$ ]]
}

# usage: kind_of NAME    how a certificate writes it: DNS or IP; fails for what is neither
kind_of() {
    if is_ipv4 "$1" || is_ipv6 "$1"; then
        echo IP
    elif is_host_name "$1"; then
        echo DNS
    else
        return 1
    fi
}

command -v openssl >/dev/null || fail "openssl is missing: install it with this system's package manager"
read -r -a own_names <<<"${TLS_NAMES:-}"
for name in ${own_names[@]+"${own_names[@]}"}; do
    kind_of "$name" >/dev/null ||
        fail "TLS_NAMES: '$name' is neither a host name nor an IP address (write it without scheme and port)"
done

# Everything is made in here and moved when complete: what interrupts this leaves nothing half-made.
work=$(mktemp -d ./.setup-tls.XXXXXX 2>/dev/null) || fail "nothing can be written in $PWD"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
# A killed run may have left its folder: those of an earlier day are nobody's any more.
find . -maxdepth 1 -name '.setup-tls.*' -mtime +0 -exec rm -rf {} +

# All that is made here takes less room than this: without it nothing is begun.
head -c 200000 /dev/zero >"$work/room" 2>/dev/null || fail "the disk of $PWD is full: nothing was changed"
rm "$work/room"

# usage: run_openssl ARGUMENT...    its own words are shown when it fails
run_openssl() {
    local said
    said=$(openssl "$@" 2>&1 >/dev/null) || fail "openssl $1 failed in $PWD: $said"
}

# usage: key_of NAME    the key that the service will have
key_of() {
    if [ -e "$1.key" ]; then echo "$1.key"; else echo "$work/$1.key"; fi
}

# usage: make_key NAME    an ECDSA key; one that exists is never replaced
make_key() {
    if [ ! -e "$1.key" ]; then
        run_openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"
        echo "$1.key: created" >>"$work/$1.said"
    fi
    openssl pkey -in "$(key_of "$1")" -noout 2>/dev/null ||
        fail "$1.key is no usable private key: restore it from a backup, or move it and its certificate away to get new ones"
}

# usage: fingerprint_of CERTIFICATE
fingerprint_of() {
    openssl x509 -in "$1" -noout -fingerprint -sha256 2>/dev/null
}

# usage: is_recorded NAME    has this script made the certificate that is there?
is_recorded() {
    local fingerprint
    fingerprint=$(fingerprint_of "$1.crt") && grep -qsxF "$1 $fingerprint" "$record"
}

# usage: require_certificate NAME    what is there and no certificate may be somebody's work
require_certificate() {
    [ ! -s "$1.crt" ] || fingerprint_of "$1.crt" >/dev/null ||
        fail "$1.crt is no certificate: move it away to get a new one"
}

# usage: matches_key NAME    does the certificate belong to the key?
matches_key() {
    [[ "$(openssl x509 -in "$1.crt" -noout -pubkey 2>/dev/null)" = "$(openssl pkey -in "$(key_of "$1")" -pubout)" ]]
}

# usage: lasts NAME    does the certificate exist and last?
lasts() {
    openssl x509 -in "$1.crt" -noout -checkend $((renew_days * 86400)) >/dev/null 2>&1
}

# usage: wanted_names    the names for which the CA must be able to sign, as openssl prints them
wanted_names() {
    local name
    for name in localhost "${services[@]}" ${own_names[@]+"${own_names[@]}"}; do
        case $(kind_of "$name") in
            DNS) echo "DNS:${name#\*.}" ;;
            IP) echo "IP:$name" ;;
        esac
    done
    echo IP:127.0.0.0/255.0.0.0
    echo IP:0:0:0:0:0:0:0:1
}

# usage: permitted_names CERTIFICATE    those for which it may sign; none if it may for all
permitted_names() {
    openssl x509 -in "$1" -noout -text | awk '/Name Constraints/ { on = 1 } /Signature Algorithm/ { on = 0 } on && /^ *(DNS|IP):/ { sub(/^ */, ""); print }'
}

# usage: as_constraints < NAMES    the names as an extension's value; an address alone is its own network
as_constraints() {
    local name
    while read -r name; do
        case $name in
            IP:*/*) ;;
            IP:*:*) name=$name/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ;;
            IP:*) name=$name/255.255.255.255 ;;
        esac
        echo "permitted;$name"
    done | sort -u | paste -s -d , -
}

write_ca_request() {
    cat >"$work/ca.cnf" <<CONFIG
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
nameConstraints = critical, $(as_constraints)
CONFIG
}

# usage: make_ca_certificate < NAMES    one that may sign for these names
make_ca_certificate() {
    write_ca_request
    run_openssl req -new -x509 -config "$work/ca.cnf" -key "$(key_of custom-ca)" \
        -days "$ca_days" -set_serial "0x$(openssl rand -hex 15)" -out "$work/custom-ca.new"
}

# usage: may_sign    does today's CA permit every name that is wanted?
may_sign() {
    local permitted
    permitted=$(permitted_names custom-ca.crt)
    [ -z "$permitted" ] || [ -z "$(comm -13 <(sort <<<"$permitted") <(permitted_names "$work/custom-ca.new" | sort))" ]
}

# usage: state_of_ca    why the CA's certificate must be made; "kept" if it need not
state_of_ca() {
    if [ ! -s custom-ca.crt ]; then
        echo created
    elif ! matches_key custom-ca; then
        is_recorded custom-ca ||
            fail "custom-ca.crt does not belong to custom-ca.key: restore the key from a backup, or move the certificate away to get another CA"
        echo "renewed, so clients must trust the new one"
    elif ! lasts custom-ca; then
        echo "renewed, so clients must trust the new one"
    elif ! may_sign; then
        is_recorded custom-ca ||
            fail "custom-ca.crt may not sign for ${TLS_NAMES:-these services}, and this script has not made it: get one that may"
        { wanted_names && permitted_names custom-ca.crt; } | make_ca_certificate
        echo "renewed for more names, so clients must trust the new one"
    else
        echo kept
    fi
}

make_ca() {
    local state
    make_key custom-ca
    require_certificate custom-ca
    wanted_names | make_ca_certificate
    state=$(state_of_ca)
    if [ "$state" != kept ]; then mv "$work/custom-ca.new" "$work/custom-ca.crt"; fi
    echo "custom-ca.crt: $state" >>"$work/custom-ca.said"
}

# usage: ca    the CA's certificate, as it will be
ca() {
    if [ -e "$work/custom-ca.crt" ]; then echo "$work/custom-ca.crt"; else echo custom-ca.crt; fi
}

# usage: names_of SERVICE    the names under which it is reached, as subjectAltName wants them
names_of() {
    local name names="DNS:$1,DNS:localhost,IP:127.0.0.1,IP:::1"
    case $1 in
        parsec-server | parsec-proxy)
            for name in ${own_names[@]+"${own_names[@]}"}; do
                names="$names,$(kind_of "$name"):$name"
            done ;;
        # The parts of the object store call each other by the store's own name as well.
        parsec-s3-inner) names="$names,DNS:${1%-inner}" ;;
    esac
    echo "$names"
}

# usage: usage_of SERVICE    what its key is for: the parts of the object store are clients of each other
usage_of() {
    if [ "$1" = parsec-s3-inner ]; then echo serverAuth, clientAuth; else echo serverAuth; fi
}

# usage: subject_of < TEXT    the key and the names in what openssl prints of a request or certificate
subject_of() {
    awk '/^ *pub:/ { on = 1 } /ASN1 OID|Exponent/ { on = 0 } on; names { print; names = 0 } /Subject Alternative Name/ { names = 1 }' |
        tr -d ' \t'
}

# usage: is_signed_by CA SERVICE    whatever the dates say
is_signed_by() {
    local said
    said=$(openssl verify -CAfile "$1" "$2.crt" 2>&1) && return
    case $said in
        *'expired'* | *'not yet valid'*) ;;
        *) return 1 ;;
    esac
}

# usage: is_foreign SERVICE    is there a certificate that this script has not made?
is_foreign() {
    [ -s "$1.crt" ] && ! is_recorded "$1" &&
        ! { [ -e custom-ca.crt ] && is_signed_by custom-ca.crt "$1"; }
}

# usage: foreign_state SERVICE    what to say of a certificate of another CA
foreign_state() {
    [ "$1" = parsec-proxy ] ||
        fail "$1.crt is signed by another CA than custom-ca.crt, and this script has not made it: move it away to get one"
    matches_key "$1" || fail "$1.crt does not belong to $1.key, and this script has not made it: put the right key beside it"
    if openssl x509 -in "$1.crt" -noout -checkend 0 >/dev/null 2>&1; then
        echo "kept, of another CA"
    else
        echo "kept, of another CA, but it has expired: get a new one there"
    fi
}

# usage: state_of SERVICE    why its certificate must be issued; "kept" if it need not
state_of() {
    local wanted
    if [ ! -s "$1.crt" ]; then
        echo created
    elif ! lasts "$1"; then
        echo "renewed: it had expired, or would soon"
    elif ! openssl verify -CAfile "$(ca)" "$1.crt" >/dev/null 2>&1; then
        echo "renewed: the CA of today has not signed it, or not for these dates"
    else
        wanted=$(openssl req -in "$work/$1.csr" -noout -text | subject_of)
        if [ "$(openssl x509 -in "$1.crt" -noout -text | subject_of)" = "$wanted" ]; then
            echo kept
        else
            echo "renewed: its names or key have changed"
        fi
    fi
}

write_request() {
    local names
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
extendedKeyUsage = $(usage_of "$1")
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $names
CONFIG
}

make_certificate() {
    local state
    make_key "$1"
    require_certificate "$1"
    if is_foreign "$1"; then
        state=$(foreign_state "$1")
    else
        write_request "$1"
        run_openssl req -new -config "$work/$1.cnf" -key "$(key_of "$1")" -out "$work/$1.csr"
        state=$(state_of "$1")
        if [ "$state" != kept ] || [ ! -e "$1.csr" ]; then
            run_openssl x509 -req -in "$work/$1.csr" -CA "$(ca)" -CAkey "$(key_of custom-ca)" \
                -days "$days" -set_serial "0x$(openssl rand -hex 15)" \
                -extfile "$work/$1.cnf" -extensions certificate -out "$work/$1.crt"
        else
            rm "$work/$1.csr"
        fi
    fi
    echo "$1.crt: $state" >>"$work/$1.said"
}

# usage: group_of NAME    the group of the container that reads the key (compose file)
group_of() {
    case $1 in
        parsec-server) echo 1234 ;;
        parsec-postgres) echo 1235 ;;
        parsec-s3 | parsec-s3-inner) echo 1236 ;;
        parsec-smtp) echo 1237 ;;
        parsec-proxy) echo 1238 ;;
    esac
}

# usage: hand_over NAME KEY    opens the key to its container's group, which no user of this
#                              machine has; only root may, and without Docker nobody needs to
hand_over() {
    if [ "$1" != custom-ca ] && chgrp "$(group_of "$1")" "$2" 2>/dev/null; then
        chmod 640 "$2"
    else
        chmod 600 "$2"
    fi
}

# usage: write_record    what was made before, and what is being made now
write_record() {
    local name
    {
        cat "$record" 2>/dev/null || true
        for name in custom-ca "${services[@]}"; do
            [ ! -e "$work/$name.crt" ] || echo "$name $(fingerprint_of "$work/$name.crt")"
        done
    } | sort -u >"$work/record"
}

# Nothing has been changed so far. Keys are linked, not moved: a link never replaces a file, so
# that of two runs at once the second says so instead of mixing its certificates with other keys.
publish() {
    local name file
    for name in custom-ca "${services[@]}"; do
        [ ! -e "$work/$name.key" ] || hand_over "$name" "$work/$name.key"
    done
    chmod 644 "$work"/*.crt "$work"/*.csr "$work/record" 2>/dev/null || true
    mv -f "$work/record" "$record"
    for name in custom-ca "${services[@]}"; do
        if [ -e "$work/$name.key" ]; then
            ln "$work/$name.key" "$name.key" 2>/dev/null ||
                fail "$name.key cannot be written, or another run has just made it: run this again"
        fi
        for file in "$name.csr" "$name.crt"; do
            [ ! -e "$work/$file" ] || mv -f "$work/$file" "$file"
        done
        hand_over "$name" "$name.key"
        cat "$work/$name.said"
    done
}

make_ca
for service in "${services[@]}"; do
    make_certificate "$service" &
    running+=($!)
done
for certificate in "${running[@]}"; do
    wait "$certificate" || exit 1
done
write_record
publish
[ "$(id -u)" = 0 ] ||
    echo "keys: only yours; for Docker, run this script once more as root (sudo)"
