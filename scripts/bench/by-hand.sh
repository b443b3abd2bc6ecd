#!/usr/bin/env bash
# The yardstick of scripts/bench: the same steps as `invoke tls adminToken up migrate bucket`,
# typed as a plain script. Runs in a folder that holds the guide's files, on the ports given by
# STACK_..._PORT; prints the process numbers that it leaves behind.
set -euo pipefail

wait_for() {
    until "$@" >/dev/null 2>&1; do sleep 0.02; done
}

./setup-tls.sh >/dev/null
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

mkdir -p log
for service in postgres s3 smtp proxy; do
    "./run-parsec-$service" >"log/$service.log" 2>&1 &
    echo $!
done
wait_for ./database-client pg_isready
python -X utf8 -m parsec migrate >log/migrate.log 2>&1
wait_for curl --fail --silent --cacert custom-ca.crt "https://localhost:$S3_PORT/status"
./create-bucket.sh >/dev/null
./run-parsec-server >log/server.log 2>&1 &
echo $!
wait_for curl --fail --silent --cacert custom-ca.crt "https://localhost:$SERVER_PORT/"
wait_for curl --fail --silent --cacert custom-ca.crt "https://localhost:$STACK_PROXY_PORT/"
wait_for curl --silent --cacert custom-ca.crt "https://localhost:$INBOX_PORT/"
