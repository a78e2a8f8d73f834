#!/bin/bash
# outfilter.py [-v] [-b] [-o FILE]: puts the time, in UTC, before each line of
# stdin and leaves out the lines about tracing. -v writes to stdout, -b without
# the time; -o adds to a file. The name is diskimage-builder's; there is no
# Python in it.

verbose='' bare='' file=/dev/null
parsed=$(getopt -n "${0##*/}" -o hvbo: -l help,verbose,no-timestamp,outfile: -- "$@") || exit 2
eval set -- "$parsed"
while [ "$1" != -- ]; do
    case $1 in
        -h | --help) echo "usage: ${0##*/} [-v] [-b] [-o FILE]"; exit 0 ;;
        -v | --verbose) verbose=1 ;;
        -b | --no-timestamp) bare=1 ;;
        -o | --outfile) file=$2; shift ;;
    esac
    shift
done

export TZ=UTC
exec 3>>"$file" || exit
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
        *'set +o'* | *xtrace*) continue ;;
    esac
    now=$EPOCHREALTIME # of bash 5: seconds, a point, six digits
    printf -v stamp '%(%Y-%m-%d %H:%M:%S)T.%s | ' "${now%[.,]*}" "${now: -6:3}"
    printf '%s%s\n' "$stamp" "$line" >&3
    if [ -n "$verbose" ]; then
        [ -z "$bare" ] || stamp=
        printf '%s%s\n' "$stamp" "$line"
    fi
done
