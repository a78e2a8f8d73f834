# shellcheck shell=bash
# What the shims beside this file share. Each sources it before anything else.
#
# The directory of the shims is the first in PATH of every hook inside the
# target, as a read-only volume. DIBBER_OUT is a writable one, for notes that
# the disk stage reads.

shim_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
shim_name=$(basename -- "$0")
# shellcheck disable=SC2034 # for the shims that keep notes
shim_out=${DIBBER_OUT:-/tmp/dibber-out}

complain() {
    printf 'dibber: %s: %s\n' "$shim_name" "$*" >&2
}

# real_program NAME... prints where the first of these programs lies that the
# distribution has. It is 127 without a word when there is none.
real_program() {
    local found program
    for program; do
        while IFS= read -r found; do
            if [[ -n $found && ! ${found%/*} -ef $shim_dir ]]; then
                printf '%s\n' "$found"
                return 0
            fi
        done <<<"$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin type -ap -- "$program")"
    done
    return 127
}

# need_program NAME... is real_program, but ends the shim when there is none.
need_program() {
    real_program "$@" || { complain "$1 is not installed in the image"; exit 127; }
}

# kept_apart PATH prints the longest mount point of the layout, other than /,
# that PATH lies on or below, and nothing when it lies on the root file system.
kept_apart() {
    local path mount best='' points=()
    path=$(realpath -m -- "$1")
    IFS='|' read -r -a points <<<"${DIB_MOUNTPOINTS:-/}"
    for mount in "${points[@]}"; do
        if [[ $mount != / && $path/ == "$mount"/* && ${#mount} -gt ${#best} ]]; then
            best=$mount
        fi
    done
    printf '%s\n' "$best"
}
