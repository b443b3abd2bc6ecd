#!/usr/bin/env bash
# Create the bucket "parsec" with object lock, unless it exists, with the credentials of
# parsec-credentials.env in the current folder. S3_ENDPOINT names another object store.
set -euo pipefail

bucket=parsec
endpoint=${S3_ENDPOINT:-https://localhost:${STACK_S3_PORT:-9000}}

fail() {
    printf 'create-bucket.sh: %s\n' "$1" >&2
    exit 1
}

[ -f parsec-credentials.env ] || fail "parsec-credentials.env is missing: run gen-credentials.sh first"
# shellcheck source=/dev/null
source ./parsec-credentials.env

# usage: ask [CURL ARGUMENT...]    sets status, and answer to what came with it
ask() {
    local said
    # The keys go through a pipe: among the arguments every user would see them. On some systems
    # curl would trust their CAs beside the one that is named.
    said=$(printf 'user = "%s:%s"\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" |
        curl --disable --noproxy "localhost,127.0.0.1${no_proxy:+,$no_proxy}" --config - --silent --show-error --max-time 20 --cacert custom-ca.crt --capath /dev/null \
            --aws-sigv4 aws:amz:us-east-1:s3 --write-out '\n%{http_code}' "$@") ||
        fail "$endpoint could not be asked, for the reason above"
    status=${said##*$'\n'}
    answer=${said%$'\n'*}
}

# usage: require_lock    stores that lack the bucket itself may also answer that it has no lock
require_lock() {
    ask "$endpoint/$bucket?object-lock="
    if [ "$status" != 200 ] || [[ $answer != *'<ObjectLockEnabled>Enabled'* ]]; then
        fail "the bucket $bucket exists without object lock: use another, or copy its objects to a new one"
    fi
}

ask --head "$endpoint/$bucket"
case $status in
    200)
        require_lock
        echo "bucket $bucket: kept, with object lock"
        exit ;;
    403)
        fail "$endpoint refuses the keys of parsec-credentials.env: a store knows those that it was started with" ;;
    404) ;;
    *)
        fail "$endpoint answered $status to the question for the bucket $bucket: see the store's log" ;;
esac

ask --request PUT --header 'x-amz-bucket-object-lock-enabled: true' "$endpoint/$bucket"
[ "$status" = 200 ] || fail "$endpoint did not create the bucket, it answered $status: $answer"
echo "bucket $bucket: created, with object lock"
