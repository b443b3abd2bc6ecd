#!/bin/sh
# The program was built to look for its files in the current folder: name the usual places.
exec /usr/lib/nginx/nginx -p /etc/nginx -c /etc/nginx/nginx.conf -e /var/log/nginx/error.log "$@"
