#!/usr/bin/env bash
# Back up without a terminal: for timers. It finds out by itself whether the services run with Docker.
set -euo pipefail
unset CDPATH
cd "$(dirname "$0")"

if [ -S run/supervisor.sock ]; then
    # shellcheck source=/dev/null
    [ ! -e venv/bin/activate ] || source venv/bin/activate
    exec ./backup.sh ./database-client
fi
exec ./backup.sh docker compose -f parsec-server.docker.yaml exec --no-TTY parsec-postgres
