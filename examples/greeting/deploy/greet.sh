#!/usr/bin/env bash
# Greet somebody: greet.sh NAME
set -euo pipefail
echo "Hello, ${1:?greet whom?}!"
echo "your number is $((${#1} * 7))"
