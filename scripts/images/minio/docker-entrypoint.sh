#!/bin/sh
# Start MinIO as the official image does: its name may be left out.
set -eu
[ "${1:-}" = minio ] || set -- minio "$@"
exec "$@"
