# shellcheck shell=bash
# dracut is told by the variables of dracut-regenerate and bootloader. This file is
# read before every phase, so what is there already is not added again.
if [[ " ${IMAGE_ELEMENT:-} " == *' dracut-regenerate '* ]]; then
    if [[ ${DIB_DRACUT_ENABLED_MODULES:-} != *'- name: iscsi'* ]]; then
        export DIB_DRACUT_ENABLED_MODULES="${DIB_DRACUT_ENABLED_MODULES:-}
- name: network
- name: iscsi
"
    fi
    if [[ ${DIB_BOOTLOADER_DEFAULT_CMDLINE:-} != *rd.iscsi.firmware=1* ]]; then
        export DIB_BOOTLOADER_DEFAULT_CMDLINE="${DIB_BOOTLOADER_DEFAULT_CMDLINE:-nofb nomodeset gfxpayload=text} rd.iscsi.firmware=1"
    fi
fi
