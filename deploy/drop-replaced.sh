#!/usr/bin/env bash
# Drop what the database held before it was put back from a backup, once that has proved right.
# usage: drop-replaced.sh CLIENT...    as check-backup.sh
set -euo pipefail

"$@" psql --username=parsec --no-psqlrc --quiet --set=ON_ERROR_STOP=1 <<'SQL'
SET client_min_messages = warning;
SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
WHERE starts_with(nspname, 'replaced_') \gexec
SQL
