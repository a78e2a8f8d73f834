# shellcheck shell=bash
# Takes the mirrors that the node names. Number 11 is after 10, where the name of the
# distribution is set. It is read before every phase, so nothing is added twice.
openstack_ci_mirrors() {
    local info=${DIB_CI_MIRROR_INFO:-/etc/ci/mirror_info.sh} trace mirror=''

    case ${BASH_SOURCE[0]} in
        /tmp/in_target.d/*) info=/tmp/in_target.d/mirror_info.sh ;;
    esac
    [[ -f $info ]] || return 0

    # It is long, and would fill the log.
    trace=$(set +o | grep xtrace)
    set +o xtrace
    # shellcheck disable=SC1090
    . "$info"
    $trace

    case ${DISTRO_NAME:-}/${ARCH:-amd64} in
        debian/*) mirror=${NODEPOOL_DEBIAN_MIRROR:-} ;;
        ubuntu/amd64) mirror=${NODEPOOL_UBUNTU_MIRROR:-} ;;
        ubuntu/*) mirror=${NODEPOOL_UBUNTU_PORTS_MIRROR:-} ;;
        *) return 0 ;;
    esac
    if [[ -n $mirror ]]; then
        export DIB_DISTRIBUTION_MIRROR=$mirror
    fi
    if [[ ${DIB_DEBOOTSTRAP_EXTRA_ARGS:-} != *--no-check-gpg* ]]; then
        export DIB_DEBOOTSTRAP_EXTRA_ARGS="${DIB_DEBOOTSTRAP_EXTRA_ARGS:-} --no-check-gpg"
    fi
    export DIB_DISTRIBUTION_MIRROR_UBUNTU_IGNORE='(universe|multiverse)'
    export DIB_DISTRIBUTION_MIRROR_UBUNTU_INSECURE=1
}
openstack_ci_mirrors
unset -f openstack_ci_mirrors
