# shellcheck shell=bash
# What the shims beside this file share. Each sources it before anything else.
#
# DIBBER_TARGET   root of the target tree, as the hooks see it
# DIBBER_JOURNAL  file of live binds below the target, one a line:
#                 bind<TAB>source<TAB>path in the target<TAB>rw|ro
# DIBBER          the dibber program

shim_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
shim_name=$(basename -- "$0")
# What packages own in a tree, and is the kernel's as long as it is mounted there.
# shellcheck disable=SC2034
kernel_directories=/proc:/sys:/dev

complain() {
    printf 'dibber: %s: %s\n' "$shim_name" "$*" >&2
}

# real_program NAME prints where the machine's own NAME lies, past the shims.
# Ordinary users often have no sbin directory in PATH.
real_program() {
    local found
    while IFS= read -r found; do
        if [[ -n $found && ! ${found%/*} -ef $shim_dir ]]; then
            printf '%s\n' "$found"
            return 0
        fi
    done <<<"$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin type -ap -- "$1")"
    return 127
}

# need_program NAME is real_program, but ends the shim when there is none.
need_program() {
    real_program "$1" || { complain "$1 is not installed on this machine"; exit 127; }
}

# in_target PATH prints where PATH lies in the target tree. It fails when PATH
# lies outside, or is the root of the tree itself.
in_target() {
    [[ -n ${DIBBER_TARGET:-} ]] || return 1
    local root path
    root=$(realpath -m -- "$DIBBER_TARGET") || return 1
    path=$(realpath -m -- "$1") || return 1
    [[ $path == "$root"/* ]] && printf '%s\n' "${path#"$root"}"
}

# journal_has PATH tells whether a bind at PATH (in the target) is noted.
journal_has() {
    [[ -n ${DIBBER_JOURNAL:-} && -e $DIBBER_JOURNAL ]] || return 1
    at=$1 awk -F '\t' '$3 == ENVIRON["at"] { seen = 1 } END { exit !seen }' "$DIBBER_JOURNAL"
}

# journal_drop PATH forgets the binds at PATH and below it.
journal_drop() {
    [[ -n ${DIBBER_JOURNAL:-} && -e $DIBBER_JOURNAL ]] || return 0
    local rest
    rest=$(at=$1 awk -F '\t' '$3 != ENVIRON["at"] && index($3, ENVIRON["at"] "/") != 1' "$DIBBER_JOURNAL")
    printf '%s' "${rest:+$rest$'\n'}" >"$DIBBER_JOURNAL"
}

# journal_add SOURCE PATH rw|ro notes a bind. The engine itself provides /dev,
# /proc and /sys in every phase, so binds there are not carried along.
journal_add() {
    local source
    [[ -n ${DIBBER_JOURNAL:-} ]] || return 0
    case $2 in
        /dev | /dev/* | /proc | /proc/* | /sys | /sys/*) return 0 ;;
    esac
    source=$(realpath -m -- "$1")
    if [[ $source$2 == *[$'\t\n']* ]]; then
        complain "$2: a path with a tab or a line break is bound for this phase only"
        return 0
    fi
    printf 'bind\t%s\t%s\t%s\n' "$source" "$2" "$3" >>"$DIBBER_JOURNAL"
}

# refuse_devices REASON is the whole of a shim for a command that works on
# block devices; questions about the command itself are passed on.
refuse_devices() {
    local reason=$1 argument program
    shift
    for argument; do
        case $argument in
            --version | --help)
                program=$(need_program "$shim_name")
                exec "$program" "$@"
                ;;
        esac
    done
    complain "$reason"
    complain "dibber makes the disk itself, after the cleanup phase, from the block device configuration (DIB_BLOCK_DEVICE_CONFIG or a block-device-* element)."
    complain "To read an existing disk image, turn it into a tree with 'dibber convert' and give that to the build."
    exit 1
}
