# Run blocks of the guide one after another in this one shell, so that variables, functions
# and the current folder persist as in a reader's terminal, but stop at the first failure.
#
# usage: bash strict.sh FOLDER ANSWERS
# Each line on standard input asks to run FOLDER/block; when it has ended well, the file
# descriptor ANSWERS says so. A failing command ends the shell; FOLDER/failure then holds the
# number of its line, and the exit status. The blocks inherit neither of the two descriptors.
#
# A block is run by statements, as a terminal does: errexit alone would pass over one like
# `false && true` or `! true` that is followed by another. Inside a loop, a function or one
# line such a statement is refused.

__folder=$1
__at=1
[ "$2" = 4 ] || eval "exec 4>&$2 $2>&-"
set --

__be_strict() {
    set -eEuo pipefail
    shopt -s inherit_errexit 2>/dev/null || true # bash 4.4; older ones lack it
}

# usage: __is_complete TEXT    do these lines end where a statement ends? The last line's end is
#                              left out: after a backslash it would hide that more is to come
__is_complete() {
    eval "__probe() { :
${1%?}
}" 2>/dev/null
}

# usage: __hidden    the first command of the last complete statement whose failure errexit ignores
__hidden() {
    local line bare
    { declare -f __probe || true; } | while IFS= read -r line; do
        bare=${line//\[\[*\]\]/} # the && inside of [[ ]] hides nothing
        case $bare in
            *' || '*) ;;
            *' && '*';' | *' ! '*';') echo "${line##*  }" && return ;;
        esac
    done
}

# usage: __refuse_hidden    end the shell if the statement would hide a failure
__refuse_hidden() {
    case $__statement in *'&&'* | *'! '*) ;; *) return 0 ;; esac
    __line=$(__hidden)
    [ -z "$__line" ] && return
    echo "a failure would stay hidden: put this on a line of its own, outside of loops: $__line" >&2
    exit 1
}

# usage: __pad COUNT    so many empty lines: put before a statement, they keep its line numbers
__pad() {
    __padding=''
    while [ "${#__padding}" -lt "$1" ]; do __padding+=$'\n'; done
}

# usage: __failed STATUS LINE    the line on which a failure began. One inside of parentheses is noted
#                                by the subshell, and believed if the whole ends with its status.
__failed() {
    local status=$1 line=$2 inner
    if [ "$BASH_SUBSHELL" -gt 1 ]; then
        [ -e "$__folder/inner" ] || echo "$status $line" >"$__folder/inner"
    elif [ -e "$__folder/inner" ]; then
        read -r inner line <"$__folder/inner"
        [ "$inner" = "$status" ] || line=$2
    fi
    echo "$line"
}

__be_strict
trap '__status=$?; [ "${BASH_SOURCE[0]-}" != "$__folder/statement" ] || __at=$(__failed "$__status" "$LINENO")' ERR
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
        if __is_complete "$__statement" || [ "$__number" = "${#__lines[@]}" ]; then
            __at=$__first
            [ ! -e "$__folder/inner" ] || rm "$__folder/inner"
            __be_strict
            __refuse_hidden
            __pad $((__first - 1))
            printf '%s%s' "$__padding" "$__statement" >|"$__folder/statement"
            __statement='' __first=$((__number + 1))
            # shellcheck source=/dev/null
            source "$__folder/statement" </dev/null 4>&-
        fi
    done
    echo ended >&4
done
trap - EXIT
