#!/usr/bin/env bash
# Replace secrets of the running services by new ones, and see that the old ones have ended.
# usage: rotate-secrets.sh native|docker WHAT...    WHAT: token, database, s3, console, catcher,
#                          inner, certificates; ca begins to trust a second CA, old-ca ends the first
# Whatever interrupts it, the same command finishes it: the old and the new value are kept in
# secrets/rotating-WHAT until the new one works and the old one is refused.
set -euo pipefail
umask 077
unset OPENSSL_CONF
export SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/dev/null

# So many seconds may pass until something new works.
patience=120
services=(parsec-postgres parsec-s3 parsec-smtp parsec-server parsec-proxy)
pairs=(parsec-postgres parsec-s3 parsec-s3-inner parsec-smtp parsec-server parsec-proxy)
what='' state='' file=''
trap 'exit 130' INT TERM HUP

fail() {
    printf 'rotate-secrets.sh: %s\n' "$1" >&2
    exit 1
}

flavour=${1:-}
case $flavour in
    native) proxy_port=${STACK_PROXY_PORT:-8443} ;;
    docker) proxy_port=${STACK_PROXY_PORT:-443} ;;
    *) fail "name the way first, native or docker, then what to rotate" ;;
esac
shift
[ $# -gt 0 ] || fail "name what to rotate: token, database, s3, console, catcher, inner, certificates, ca or old-ca"
server=https://localhost:${STACK_SERVER_PORT:-6777}
store=https://localhost:${STACK_S3_PORT:-9000}
console=https://localhost:${STACK_S3_CONSOLE_PORT:-9090}
inbox=https://localhost:${STACK_INBOX_PORT:-8025}
smtp=smtps://localhost:${STACK_SMTP_PORT:-1025}

compose() {
    docker compose -f parsec-server.docker.yaml "$@" </dev/null 2>secrets/rotating-said ||
        fail "docker compose $1 failed: $(tail -n 2 secrets/rotating-said)"
    rm secrets/rotating-said
}

control() {
    supervisorctl --configuration supervisord.conf "$@"
}

# usage: client ARGUMENT...    psql, which reads from standard input
client() {
    local run=(./database-client)
    [ "$flavour" = native ] || run=(docker compose -f parsec-server.docker.yaml exec --no-TTY parsec-postgres)
    "${run[@]}" psql --username=parsec --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"
}

# usage: ask [CURL ARGUMENT...] <CONFIGURATION    what must not stand among the arguments, where
#                                                 every user would see it, comes through a pipe
ask() {
    curl --disable --noproxy '*' --config - --silent --max-time 5 --cacert custom-ca.crt --capath /dev/null "$@"
}

# usage: status [CURL ARGUMENT...] <CONFIGURATION    prints the HTTP status, 000 without an answer
status() {
    ask --output /dev/null --write-out '%{http_code}' "$@" || true
}

# usage: soon COMMAND...    tries it until it succeeds, or patience ends
soon() {
    local end=$((SECONDS + patience))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# --- restarting, in a moment

# Streams of events would keep an ending server waiting, while it takes no request: it gets a
# second for those under way. What it has not answered, clients send again.
restart_server() {
    local pid tries=10
    if [ "$flavour" = docker ]; then
        compose up --detach --no-deps --force-recreate --timeout 1 parsec-server
        return
    fi
    # The supervisor starts anew what has ended.
    pid=$(control pid parsec-server)
    if [ "${pid:-0}" -gt 0 ] 2>/dev/null; then
        kill -TERM "$pid" 2>/dev/null || true
        while [ $((tries -= 1)) -gt 0 ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null || true
    else
        control start parsec-server >/dev/null
    fi
}

# usage: restart SERVICE    one that reads all that changes from files
restart() {
    if [ "$flavour" = docker ]; then compose restart --no-deps "$1"; else control restart "$1" >/dev/null; fi
}

# The object store reads its keys again, and goes on.
reload_keys() {
    if [ "$flavour" = docker ]; then
        docker compose -f parsec-server.docker.yaml exec --no-TTY parsec-s3 \
            sh -c 'umask 077 && cat >/tmp/identities.new && mv /tmp/identities.new /tmp/s3-identities.json && kill -HUP 1' <secrets/s3-identities.json ||
            fail "the object store's container cannot be told its keys: start the services anew, then run this again"
    else
        control signal HUP parsec-s3 >/dev/null
    fi
}

server_answers() {
    [ "$(status -H 'Api-Version: 5.3' -H 'Content-Type: application/msgpack' "$server/anonymous/NoSuchOrganization" </dev/null)" = 404 ]
}

store_answers() {
    [ "$(status "$store/status" </dev/null)" = 200 ]
}

await_server() {
    soon server_answers || fail "the Parsec server does not answer after $patience s: see its log, then run this again"
}

await_store() {
    soon store_answers || fail "the object store does not answer after $patience s: see its log, then run this again"
}

# --- values in the env files

# usage: begin FILE NAME...    once: notes the values in FILE, and new ones
begin() {
    local name value
    file=$1
    state=secrets/rotating-$what
    shift
    if [ -e "$state" ]; then
        echo "$what: an interrupted rotation goes on"
        return
    fi
    [ -f "$file" ] || fail "$file is missing: make it first"
    rm -rf "$state".*
    for name; do
        value=$(sed -n "s/^$name=//p" "$file")
        [[ $value =~ ^[0-9a-zA-Z]+$ ]] || fail "$file has no usable $name: run the script that makes the file"
        echo "earlier $name=$value"
        echo "next $name=$(openssl rand -hex "$(length_of "$name")")"
    done >"$state.tmp"
    [ "$(grep -Ec '^(earlier|next) [A-Z0-9_]+=[0-9a-zA-Z]+$' "$state.tmp")" = $(($# * 2)) ] || fail "nothing can be written to secrets/: nothing was changed"
    mv "$state.tmp" "$state"
}

# usage: length_of NAME    how many random bytes it has
length_of() {
    case $1 in
        PARSEC_ADMINISTRATION_TOKEN) echo 32 ;;
        S3_ACCESS_KEY) echo 10 ;;
        *) echo 20 ;;
    esac
}

# usage: value WHICH NAME    WHICH: earlier or next
value() {
    sed -n "s/^$1 $2=//p" "$state"
}

# The file holds the new values from here on, and so do its copies in secrets/.
switch() {
    awk -v state="$state" '
        BEGIN { while ((getline line < state) > 0) if (sub(/^next /, "", line)) { name = line; sub(/=.*/, "", name); next_line[name] = line } }
        { name = $0; sub(/=.*/, "", name); print (name in next_line) ? next_line[name] : $0 }' "$file" >"$state.tmp" &&
        [ "$(grep -c '' "$state.tmp")" = "$(grep -c '' "$file")" ] || fail "nothing can be written to secrets/: $file is as it was"
    mv "$state.tmp" "$file"
    derive
}

derive() {
    case $file in
        parsec-admin-token.env) ./gen-admin-token.sh ;;
        *) ./gen-credentials.sh ;;
    esac >/dev/null
}

# usage: prove WORDS TRY    TRY WHICH succeeds with the next value, and after that fails with the
#                           earlier one, with a refusal: TRY says so by 1, and by more of all else
prove() {
    local result=0
    soon "$2" next || fail "the new $1 does not work: the earlier one is kept in $state; see the service's log, then run this again"
    "$2" earlier || result=$?
    [ "$result" = 1 ] || fail "the old $1 is not refused: it is kept in $state; start the services anew, then run this again"
}

forget() {
    mv "$state" "$state.done"
    rm -rf "$state".*
    echo "$what: rotated; the new one works, the old one is refused"
}

# usage: answer STATUS GOOD REFUSED    0 if it is good, 1 if it is the refusal, else 2
answer() {
    case $1 in
        "$2") return 0 ;;
        "$3") return 1 ;;
        *) return 2 ;;
    esac
}

try_token() {
    local token
    token=$(value "$1" PARSEC_ADMINISTRATION_TOKEN)
    answer "$(status -H 'Content-Type: application/json' "$server/administration/organizations/NoSuchOrganization" \
        <<<"header = \"Authorization: Bearer $token\"")" 404 403
}

rotate_token() {
    begin parsec-admin-token.env PARSEC_ADMINISTRATION_TOKEN
    switch
    restart_server
    await_server
    prove "administration token" try_token
    forget
}

# usage: try_database WHICH    logs in by the port; what psql itself logs in with does not count
try_database() {
    local said
    said=$(printf '\\connect -reuse-previous=on "host=127.0.0.1 sslmode=require password=%s"\nSELECT 7 * 6;\n' \
        "$(value "$1" POSTGRES_PASSWORD)" | client 2>&1) || true
    case $said in
        *42) return 0 ;;
        *'password authentication failed'*) return 1 ;;
        *) return 2 ;;
    esac
}

# The new password is in no statement, which PostgreSQL would log if it failed.
change_password() {
    client --output=/dev/null >/dev/null <<SQL
SELECT set_config('parsec.next', \$1, false) \\bind '$(value next POSTGRES_PASSWORD)' \\g
DO \$\$
BEGIN
    EXECUTE format('ALTER ROLE parsec PASSWORD %L', current_setting('parsec.next'));
EXCEPTION WHEN OTHERS THEN
    RAISE 'the password was not changed (%)', SQLSTATE;
END
\$\$;
SQL
}

rotate_database() {
    local copy earlier said
    begin parsec-credentials.env POSTGRES_PASSWORD
    earlier=$(value earlier POSTGRES_PASSWORD)
    if grep -qx "POSTGRES_PASSWORD=$earlier" "$file"; then
        # Who is refused by the old one was interrupted after the change.
        said=$(change_password 2>&1) || [[ $said = *'password authentication failed'* ]] ||
            fail "PostgreSQL has not changed its password, the old one works on: $said"
    fi
    switch
    # At its start it takes the password of the file: an interrupted rotation ends so.
    try_database next || { restart parsec-postgres && soon try_database next; } || true
    restart_server
    await_server
    prove "database password" try_database
    for copy in secrets/postgres-password.[0-9]*; do
        if [ -e "$copy" ] && [ "$(cat "$copy")" = "$earlier" ]; then rm "$copy"; fi
    done
    forget
}

try_store() {
    answer "$(status --head --aws-sigv4 aws:amz:us-east-1:s3 "$store/parsec" \
        <<<"user = \"$(value "$1" S3_ACCESS_KEY):$(value "$1" S3_SECRET_KEY)\"")" 200 403
}

# The store lets in both keys until the server uses the new one.
rotate_s3() {
    begin parsec-credentials.env S3_ACCESS_KEY S3_SECRET_KEY
    local also=secrets/s3-also
    printf '%s %s\n' "$(value earlier S3_ACCESS_KEY)" "$(value earlier S3_SECRET_KEY)" \
        "$(value next S3_ACCESS_KEY)" "$(value next S3_SECRET_KEY)" >"$state.tmp"
    mv "$state.tmp" "$also"
    derive
    reload_keys
    soon try_store next || fail "the object store does not take the new keys: the old ones work on; see its log, then run this again"
    switch
    restart_server
    await_server
    rm "$also"
    derive
    reload_keys
    soon has_ended try_store || true
    prove "S3 keys" try_store
    forget
}

# usage: has_ended TRY
has_ended() {
    local result=0
    "$1" earlier || result=$?
    [ "$result" = 1 ]
}

# usage: try_console WHICH    the console is found, and lets in, by its password alone
try_console() {
    local password path token answered
    password=$(value "$1" S3_CONSOLE_PASSWORD)
    path=$(printf '%s' "$password" | openssl dgst -sha256 -r | cut -c 1-40)
    : >"$state.cookies"
    token=$(ask --cookie-jar "$state.cookies" "$console/$path/login" </dev/null | sed -n 's/.*name="csrf_token" value="\([0-9a-f]*\)".*/\1/p') || return 2
    if [ -z "$token" ]; then
        answer "$(status "$console/$path/login" </dev/null)" 200 404
        return
    fi
    answered=$(ask --cookie "$state.cookies" --output /dev/null --write-out '%{redirect_url}' "$console/$path/login" \
        <<<"data = \"username=parsec&password=$password&csrf_token=$token\"") || return 2
    case $answered in
        */login*) return 1 ;;
        */"$path"/*) return 0 ;;
        *) return 2 ;;
    esac
}

rotate_console() {
    begin parsec-credentials.env S3_CONSOLE_PASSWORD
    switch
    restart parsec-s3
    await_store
    prove "console login" try_console
    forget
}

# usage: try_catcher WHICH    reads the inbox, and logs in to hand in a mail
try_catcher() {
    local login result=0
    login="user = \"$(sed -n 's/^MAIL_USER=//p' "$file"):$(value "$1" MAIL_PASSWORD)\""
    answer "$(status "$inbox/" <<<"$login")" 200 401 || result=$?
    case $result in
        0) ask --request NOOP --output /dev/null "$smtp" <<<"$login" || return 2 ;;
        1) ask --request NOOP --output /dev/null "$smtp" <<<"$login" || { [ $? = 67 ] && return 1; } || true
            return 2 ;;
    esac
    return "$result"
}

rotate_catcher() {
    begin parsec-credentials.env MAIL_PASSWORD
    switch
    restart parsec-smtp
    restart_server
    await_server
    prove "mail catcher's login" try_catcher
    forget
}

# --- keys and certificates

# usage: access_of FILE    who may read it
access_of() {
    # shellcheck disable=SC2012
    ls -ln "$1" | awk '{ print $1, $4 }'
}

# usage: fingerprint_of CERTIFICATE
fingerprint_of() {
    openssl x509 -in "$1" -noout -fingerprint -sha256
}

# usage: is_ours PAIR    is its certificate of this folder's CA?
is_ours() {
    openssl verify -CAfile custom-ca.crt "$1.crt" >/dev/null 2>&1
}

# usage: begin_pairs [FILE...]    once: makes new pairs, by these of the CA's files or a new CA
begin_pairs() {
    local name
    state=secrets/rotating-$what
    if [ ! -e "$state" ]; then
        for name in "$@"; do
            [ -e "$name" ] || fail "$name is missing: put it back for the time of the rotation"
        done
        rm -rf "$state".*
        mkdir -p "$state.new/earlier"
        for name in custom-ca "${pairs[@]}"; do
            cp -p "$name.crt" "$state.new/earlier"
            [ ! -e "$name.key" ] || cp -p "$name.key" "$state.new/earlier"
        done
        for name in "$@"; do cp -p "$name" "$state.new"; done
    fi
    # What was made long ago may have to be renewed.
    (cd "$state.new" 2>/dev/null || cd "$state" && ../../setup-tls.sh) >/dev/null ||
        fail "no new pairs can be made, for the reason above: nothing was changed"
    [ ! -e "$state.new" ] || require_access
    [ -e "$state" ] || mv "$state.new" "$state"
}

# Before anything is changed: services read the new keys as they read the old ones.
require_access() {
    local name
    for name in "${pairs[@]}"; do
        [ "$(access_of "$name.key")" = "$(access_of "$state.new/$name.key")" ] ||
            fail "a new $name.key would have another group than the old one: run this as root (sudo), as setup-tls.sh"
    done
}

# usage: install_pair PAIR    puts the new one into its place
install_pair() {
    local suffix
    for suffix in csr key crt; do cp -p "$state/$1.$suffix" "$state/$1.$suffix.tmp"; done
    for suffix in csr key crt; do mv "$state/$1.$suffix.tmp" "$1.$suffix"; done
}

# The script that made them must know them as its own.
record_pairs() {
    sort -u "$state/issued-certificates.txt" issued-certificates.txt >"$state/record.tmp"
    chmod 644 "$state/record.tmp"
    mv "$state/record.tmp" issued-certificates.txt
}

# usage: port_of SERVICE
port_of() {
    case $1 in
        parsec-postgres) echo "${STACK_POSTGRES_PORT:-5432}" ;;
        parsec-s3) echo "${STACK_S3_PORT:-9000}" ;;
        parsec-smtp) echo "${STACK_INBOX_PORT:-8025}" ;;
        parsec-server) echo "${STACK_SERVER_PORT:-6777}" ;;
        parsec-proxy) echo "$proxy_port" ;;
    esac
}

# usage: shows SERVICE CERTIFICATE    does it show this one to who connects?
shows() {
    local how=() shown
    [ "$1" != parsec-postgres ] || how=(-starttls postgres)
    shown=$(openssl s_client -connect "127.0.0.1:$(port_of "$1")" ${how[@]+"${how[@]}"} </dev/null 2>/dev/null |
        openssl x509 -noout -fingerprint -sha256 2>/dev/null) || return 1
    [ "$shown" = "$(fingerprint_of "$2")" ]
}

# usage: renew SERVICE    one after the other, so that each is away for a moment only
renew() {
    case $1:$flavour in
        parsec-server:*) restart_server ;;
        parsec-postgres:native) control signal HUP parsec-postgres >/dev/null ;;
        *) restart "$1" ;;
    esac
    soon shows "$1" "$1.crt" || fail "$1 does not show the certificate of $1.crt after $patience s: see its log, then run this again"
    [ "$1" != parsec-s3 ] || await_store
    await_server
}

# usage: try_inner FOLDER    0 if the store's parts answer who has the pair there, 1 if they refuse
try_inner() {
    local said
    if [ "$flavour" = native ]; then
        said=$(status --cert "$1/parsec-s3-inner.crt" --key "$1/parsec-s3-inner.key" "https://localhost:$((${STACK_S3_PORT:-9000} + 5))/" </dev/null)
    else
        said=$(cat "$1/parsec-s3-inner.crt" "$1/parsec-s3-inner.key" |
            docker compose -f parsec-server.docker.yaml exec --no-TTY parsec-s3 sh -c 'umask 077; cat >/tmp/tried.pem
            curl --silent --max-time 5 --output /dev/null --write-out "%{http_code}" --cacert custom-ca.crt --cert /tmp/tried.pem https://localhost:8888/
            rm /tmp/tried.pem') || true
    fi
    answer "$said" 200 000
}

rotate_inner() {
    begin_pairs custom-ca.key custom-ca.crt issued-certificates.txt
    install_pair parsec-s3-inner
    record_pairs
    restart parsec-s3
    await_store
    soon try_inner . || fail "the object store's parts do not answer the new key: both are kept in $state; see its log, then run this again"
    # Nobody is refused by a store that is away: the new key has just been answered.
    ! try_inner "$state/earlier" || fail "the old inner key is not refused: both are kept in $state; start the services anew, then run this again"
    forget
}

rotate_certificates() {
    local service ours=()
    begin_pairs custom-ca.key custom-ca.crt issued-certificates.txt
    for service in "${services[@]}"; do
        if is_ours "$service"; then ours+=("$service"); else echo "$service.crt: kept, of another CA: get a new one there"; fi
    done
    record_pairs
    for service in "${ours[@]}"; do
        install_pair "$service"
        renew "$service"
        ! shows "$service" "$state/earlier/$service.crt" || fail "$service shows its old certificate"
    done
    mv "$state" "$state.done"
    rm -rf "$state".*
    echo "certificates: rotated; every service shows its new one"
    echo "the old ones stay valid until they expire: if somebody has their keys, rotate the CA"
}

# usage: trust FILE...    what everybody trusts from now on; the first is the CA that signs
trust() {
    cat "$@" >"$state/trust.tmp"
    chmod 644 "$state/trust.tmp"
    mv "$state/trust.tmp" custom-ca.crt
}

# The server and the proxy read at their start whom they trust.
renew_trust() {
    restart_server
    await_server
    restart parsec-proxy
    soon shows parsec-proxy parsec-proxy.crt || fail "the proxy does not answer after $patience s: see its log, then run this again"
}

rotate_ca() {
    [ ! -e secrets/rotating-ca ] || echo "ca: a second CA is there already"
    begin_pairs
    if [ -e "$state/switched" ]; then fail "the services have certificates of the new CA already: go on with old-ca"; fi
    trust "$state/earlier/custom-ca.crt" "$state/custom-ca.crt"
    renew_trust
    echo "ca: two CAs are trusted; the old one still signs"
    echo "give custom-ca.crt to every client, which then trusts both; when all have it, run this with old-ca"
}

rotate_old_ca() {
    local service
    what=ca
    [ -e secrets/rotating-ca ] || fail "no second CA is trusted yet: begin with ca"
    begin_pairs
    ! [ -e "$state/switched" ] || echo "old-ca: an interrupted rotation goes on"
    if [ "$(grep -c BEGIN custom-ca.crt)" -lt 2 ] && [ ! -e "$state/switched" ]; then
        fail "the second CA was never trusted: finish the interrupted ca first"
    fi
    # Which certificates are of another CA is asked before the CA changes.
    if [ ! -e "$state/switched" ]; then
        for service in "${pairs[@]}"; do
            ! is_ours "$service" || echo "$service"
        done >"$state/switched.tmp"
        mv "$state/switched.tmp" "$state/switched"
    fi
    trust "$state/custom-ca.crt" "$state/earlier/custom-ca.crt"
    cp -p "$state/custom-ca.key" "$state/key.tmp"
    mv "$state/key.tmp" custom-ca.key
    record_pairs
    while read -r service; do
        install_pair "$service"
    done <"$state/switched"
    for service in "${services[@]}"; do
        ! grep -qx "$service" "$state/switched" || renew "$service"
    done
    trust "$state/custom-ca.crt"
    renew_trust
    soon try_inner . || fail "the object store's parts do not answer the new key: see its log, then run this again"
    for service in "${services[@]}"; do
        ! shows "$service" "$state/earlier/$service.crt" || ! grep -qx "$service" "$state/switched" ||
            fail "$service shows a certificate of the old CA: start the services anew, then run this again"
    done
    ! openssl verify -CAfile custom-ca.crt "$state/earlier/parsec-server.crt" >/dev/null 2>&1 ||
        fail "custom-ca.crt still trusts the old CA: run this again"
    ! try_inner "$state/earlier" || fail "the object store still trusts the old CA: start the services anew, then run this again"
    forget
    echo "take the old CA away from clients: custom-ca.crt now holds the new one alone"
}

mkdir -p secrets
for what; do
    case $what in
        token | database | s3 | console | catcher | inner | certificates | ca | old-ca) ;;
        *) fail "'$what' is nothing to rotate: choose token, database, s3, console, catcher, inner, certificates, ca or old-ca" ;;
    esac
done
for what; do
    "rotate_${what//-/_}"
done
