# Run blocks of the guide one after another in this one shell, so that variables, functions
# and the current folder persist as in a reader's terminal, but stop at the first failure.
#
# usage: bash strict.sh FOLDER ANSWERS
# Each line on standard input asks to run FOLDER/block; when it has ended well, the file
# descriptor ANSWERS says so. A failing command ends the shell; FOLDER/failure then holds the
# number of its line, and the exit status. The blocks inherit neither of the two descriptors.
#
# A block is run by statements, as a terminal does: errexit alone would pass over one like
# `false && true` or `! true` that is followed by another.

__folder=$1
__at=1
[ "$2" = 4 ] || eval "exec 4>&$2 $2>&-"
set --

__be_strict() {
    set -eEuo pipefail
    shopt -s inherit_errexit 2>/dev/null || true # bash 4.4; older ones lack it
}

# usage: __is_complete TEXT    do these lines end where a statement ends?
__is_complete() {
    eval "__probe() { :
$1
}" 2>/dev/null
}

# usage: __pad COUNT    so many empty lines: put before a statement, they keep its line numbers
__pad() {
    __padding=''
    while [ "${#__padding}" -lt "$1" ]; do __padding+=$'\n'; done
}

__be_strict
trap '[ "${BASH_SOURCE[0]-}" != "$__folder/statement" ] || __at=$LINENO' ERR
trap 'printf "%s %s\n" "$__at" "$?" >|"$__folder/failure"' EXIT

while IFS= read -r __request; do
    __lines=()
    while IFS= read -r __line || [ -n "$__line" ]; do
        __lines+=("$__line")
    done <"$__folder/block"
    __statement='' __first=1 __number=0
    while [ "$__number" -lt "${#__lines[@]}" ]; do
        __statement+=${__lines[__number]}$'\n'
        __number=$((__number + 1))
        if [ "$__number" = "${#__lines[@]}" ] || __is_complete "$__statement"; then
            __pad $((__first - 1))
            printf '%s%s' "$__padding" "$__statement" >|"$__folder/statement"
            __at=$__first __statement='' __first=$((__number + 1))
            __be_strict
            # shellcheck source=/dev/null
            source "$__folder/statement" </dev/null 4>&-
        fi
    done
    echo ended >&4
done
trap - EXIT
