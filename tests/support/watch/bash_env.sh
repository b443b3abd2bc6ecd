# shellcheck shell=bash
# Read by every bash that gets it as BASH_ENV: append each command, as it is run, to $COMMAND_LINES.
exec 198>>"$COMMAND_LINES"
BASH_XTRACEFD=198
PS4='+ '
set -o xtrace
