#!/bin/sh
# Prepare nginx as the official image does: run what lies in /docker-entrypoint.d, render the
# templates with the environment's values, then start the command.
# The files that are sourced are the reader's own.
# shellcheck disable=SC1090
set -eu

run_hooks() {
    for hook in /docker-entrypoint.d/*; do
        case $hook in
            *.envsh) [ ! -x "$hook" ] || . "$hook" ;;
            *.sh) [ ! -x "$hook" ] || "$hook" ;;
        esac
    done
}

# usage: render TEMPLATE    prints it with each ${NAME} of the environment replaced
render() {
    awk '{
        line = $0; out = ""
        while (match(line, /\$\{[A-Za-z_][A-Za-z0-9_]*\}/)) {
            name = substr(line, RSTART + 2, RLENGTH - 3)
            value = (name in ENVIRON) ? ENVIRON[name] : substr(line, RSTART, RLENGTH)
            out = out substr(line, 1, RSTART - 1) value
            line = substr(line, RSTART + RLENGTH)
        }
        print out line
    }' "$1"
}

render_templates() {
    for template in /etc/nginx/templates/*.template; do
        [ -e "$template" ] || continue
        name=${template##*/}
        render "$template" >"/etc/nginx/conf.d/${name%.template}"
    done
}

if [ "${1:-}" = nginx ]; then
    run_hooks
    render_templates
fi
exec "$@"
