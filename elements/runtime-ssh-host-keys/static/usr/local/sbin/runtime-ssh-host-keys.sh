#!/bin/bash
# Makes the SSH host keys that are missing. A key gets its name only when it is
# whole, so that a power cut leaves no broken one.
# It runs in the machine, where no build traces it.
# dib-lint: disable=dibdebugtrace

set -eu
set -o pipefail

cd /etc/ssh
work=$(mktemp -d ./.host-keys.XXXXXX)
trap 'rm -rf "$work"' EXIT

for kind in ecdsa ed25519 rsa; do
    name=ssh_host_${kind}_key
    [[ -s $name ]] && continue
    ssh-keygen -q -t "$kind" -N '' -C "root@$(hostname)" -f "$work/$name"
    mv -f "$work/$name.pub" "$name.pub"
    mv -f "$work/$name" "$name"
    ssh-keygen -l -f "$name.pub"
done
