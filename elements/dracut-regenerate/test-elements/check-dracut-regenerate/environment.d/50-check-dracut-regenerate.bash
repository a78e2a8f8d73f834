# shellcheck shell=bash
# This file is read before every phase, so what is there already is not added again.
if [[ $DIB_DRACUT_ENABLED_MODULES != *'name: busybox'* ]]; then
    export DIB_DRACUT_ENABLED_MODULES="$DIB_DRACUT_ENABLED_MODULES
- name: busybox
- name: mdraid
  packages: [mdadm]
"
fi
