#!/bin/bash
# Sets up the network interfaces that the firmware names in its iSCSI boot table.
# Without such a table there is nothing to do, and that is no failure.
# It runs in the machine, where no build traces it.
# dib-lint: disable=dibdebugtrace

set -eu
set -o pipefail

PATH=/usr/sbin:/sbin:$PATH

if ! command -v iscsistart >/dev/null; then
    echo "init-ibft-interfaces: iscsistart is not installed" >&2
    exit 1
fi
if ! iscsistart -f; then
    echo "init-ibft-interfaces: the firmware names no iSCSI interface"
    exit 0
fi
if ! iscsistart -N; then
    echo "init-ibft-interfaces: iscsistart could not set up the interfaces" >&2
    exit 1
fi
# Who waits for this waits for what it made, too.
udevadm settle
