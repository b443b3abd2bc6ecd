#!/bin/sh
# Start SeaweedFS as the official image does: step down from root, then put each command's
# usual arguments before the given ones. No argument may contain a space or a glob.
set -eu

if [ "$(id -u)" = 0 ]; then
    if [ "$(stat -c %u:%g /data)" != 1000:1000 ]; then
        chown -R seaweed:seaweed /data
    fi
    exec gosu seaweed "$0" "$@"
fi

command=${1:-mini}
[ $# = 0 ] || shift
case $command in
    mini) set -- -dir=/data "$@" ;;
    server) set -- -dir=/data -volume.max=0 -master.volumeSizeLimitMB=1024 "$@" ;;
    master) set -- -mdir=/data -volumeSizeLimitMB=1024 "$@" ;;
    volume) set -- -dir=/data -max=0 "$@" ;;
esac
# Without quotes, as there, so that what would break there breaks here.
# shellcheck disable=SC2068
exec /usr/bin/weed -logtostderr=true "$command" $@
