#!/bin/bash
# dhcp-all-interfaces.sh [INTERFACE]: sets up DHCP on an interface, or on all,
# that has a link, an address of its own and no configuration yet, and brings it
# up. An interface that cannot be used is told of and is no failure.
# It runs in the machine, where no build traces it.
# dib-lint: disable=dibdebugtrace

set -eu
set -o pipefail

PATH=/usr/sbin:/sbin:$PATH
timeout=@TIMEOUT@
interfaces=/etc/network/interfaces
scripts=''

# style tells how this distribution writes interfaces down.
if [[ -d /etc/network ]]; then
    style=interfaces
elif [[ -d /etc/sysconfig/network-scripts ]]; then
    style=redhat scripts=/etc/sysconfig/network-scripts
elif [[ -d /etc/sysconfig/network ]]; then
    style=suse scripts=/etc/sysconfig/network
else
    echo "no network configuration of a kind that is known here" >&2
    exit 1
fi

attribute() {
    cat "/sys/class/net/$1/$2" 2>/dev/null || true
}

# is_vlan tells of an interface such as eth0.7, which has the address of eth0.
is_vlan() {
    local lower=${1%%.*}
    [[ $1 == *.* && $(attribute "$1" addr_assign_type) == 2 && $(attribute "$lower" addr_assign_type) == 0 ]]
}

# has_own_address: an address that the kernel made up is a bridge's, a
# container's or the like.
has_own_address() {
    [[ $(attribute "$1" addr_assign_type) == 0 ]] || is_vlan "$1"
}

is_configured() {
    if [[ $style == interfaces ]]; then
        # It prints options only, and plain DHCP has none.
        ifquery "$1" >/dev/null 2>&1
    else
        [[ -f $scripts/ifcfg-$1 ]]
    fi
}

# gets_link waits for the other end of the cable.
gets_link() {
    local tries
    for ((tries = timeout; tries > 0; tries--)); do
        # A switch may make the interface go down again.
        ip link set dev "$1" up 2>/dev/null || true
        [[ $(attribute "$1" carrier) == 1 ]] && return 0
        sleep 1
    done
    return 1
}

# ipv6_of INTERFACE prints what routers advertise: none, slaac (addresses by
# oneself), stateless (the rest by DHCP) or stateful (addresses by DHCP).
ipv6_of() {
    local tries status advertised
    command -v rdisc6 >/dev/null || { echo none; return; }
    for ((tries = timeout; tries > 0; tries--)); do
        status=0
        advertised=$(rdisc6 --single --retry 3 "$1" 2>/dev/null) || status=$?
        case $status in
            0)
                if grep -q 'Stateful address conf.*Yes' <<<"$advertised"; then
                    echo stateful
                elif grep -q 'Stateful other conf.*Yes' <<<"$advertised"; then
                    echo stateless
                else
                    echo slaac
                fi
                return
                ;;
            1) sleep 1 ;; # no address to ask from yet
            *) break ;;   # nobody has answered
        esac
    done
    echo none
}

# keep_identity FILE has DHCPv6 know this machine by its machine-id (RFC 6355).
keep_identity() {
    [[ -d $(dirname "$1") && ! -e $1 ]] || return 0
    printf 'default-duid "\\x00\\x04%s";\n' "$(sed 's/../\\x&/g' /etc/machine-id)" >"$1"
}

write_interfaces() {
    {
        # Not "auto": the name may be gone at the next boot, on other hardware.
        printf 'iface %s inet dhcp\n' "$1"
        case $2 in
            stateful) printf 'iface %s inet6 dhcp\n' "$1" ;;
            stateless) printf 'iface %s inet6 auto\n\tdhcp 1\n' "$1" ;;
            slaac) printf 'iface %s inet6 auto\n\tdhcp 0\n' "$1" ;;
        esac
        echo
    } >>"$interfaces"
    if [[ $2 != none ]]; then keep_identity "/var/lib/dhcp/dhclient6.$1.leases"; fi
}

write_redhat() {
    {
        printf 'DEVICE="%s"\nBOOTPROTO="dhcp"\nONBOOT="yes"\n' "$1"
        if [[ $(attribute "$1" type) == 32 ]]; then
            printf 'TYPE="InfiniBand"\nCONNECTED_MODE="no"\nDEFROUTE="yes"\nPEERDNS="yes"\nPEERROUTES="yes"\n'
            printf 'IPV4_FAILURE_FATAL="yes"\nIPV6INIT="no"\n'
        elif is_vlan "$1"; then
            printf 'VLAN="yes"\n'
        else
            printf 'TYPE="Ethernet"\n'
        fi
        case $2 in
            stateful) printf 'IPV6INIT="yes"\nIPV6_FORCE_ACCEPT_RA="yes"\nDHCPV6C="yes"\n' ;;
            stateless) printf 'IPV6INIT="yes"\nIPV6_AUTOCONF="yes"\nDHCPV6C="yes"\nDHCPV6C_OPTIONS="-S"\n' ;;
            slaac) printf 'IPV6INIT="yes"\nIPV6_AUTOCONF="yes"\n' ;;
        esac
    } >"$scripts/ifcfg-$1"
    if [[ $2 != none ]]; then keep_identity "/var/lib/dhclient/dhclient6--$1.lease"; fi
}

# write INTERFACE IPV6: several interfaces can appear at once, and all write to
# the same file.
write() {
    (
        flock 9
        "write_$style" "$1" "$2"
    ) 9>/run/dhcp-all-interfaces.lock
}

write_suse() {
    printf 'BOOTPROTO="dhcp"\nSTARTMODE="auto"\n' >"$scripts/ifcfg-$1"
}

# settle INTERFACE configures one and brings it up.
settle() {
    if ! is_configured "$1"; then
        if ! has_own_address "$1"; then
            echo "$1: its address was made up here, left alone"
            return
        fi
        if ! gets_link "$1"; then
            echo "$1: no link in $timeout s, left alone"
            return
        fi
        write "$1" "$(ipv6_of "$1")"
        echo "$1: configured for DHCP"
    fi
    if command -v ifup >/dev/null; then
        ifup "$1" || echo "$1: got no address in time"
    fi
}

if (($#)); then
    settle "$1"
else
    for path in /sys/class/net/*; do
        [[ $path == */lo ]] || settle "$(basename "$path")"
    done
fi
