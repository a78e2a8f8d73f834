#!/bin/sh
# No root is ever mounted, but dracut wants to hear of one. dracut sources this.
# dib-lint: disable=setu sete setpipefail dibdebugtrace

# shellcheck disable=SC2034 # for dracut
root=/dev/zero
# shellcheck disable=SC2034
rootok=1

# Boot servers give ip=ADDRESS:SERVER:GATEWAY:NETMASK; dracut wants to be told as
# well that this is not DHCP.
sed -E 's/(^| )(ip=[^: ]+:[^: ]*:[^: ]*:[^: ]*)( |$)/\1\2:::off\3/' /proc/cmdline >/run/cmdline
if grep -q ":::off" /run/cmdline; then
    mount --bind -o ro /run/cmdline /proc/cmdline
fi
