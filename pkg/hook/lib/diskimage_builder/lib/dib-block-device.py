#!/bin/bash
# dib-block-device.py [--params FILE] COMMAND: what hooks may ask about the disk
# of the build. dibber makes the disk itself, when all hooks are done: there is
# nothing to set up and nothing to take down. The name is diskimage-builder's;
# there is no Python in it.

usage() {
    echo "usage: ${0##*/} [--params FILE] {init|getval SYMBOL|create|umount|cleanup|delete|writefstab}" >&2
    exit 2
}

case ${1:-} in
    --params) shift 2 || usage ;;
    --params=*) shift ;;
esac

case ${1:-} in
    init | umount | cleanup | delete)
        [ $# -eq 1 ] || usage
        ;;
    getval)
        [ $# -eq 2 ] || usage
        case $2 in
            root-label) echo "${DIB_ROOT_LABEL:-}" ;;
            root-fstype) echo "${DIB_ROOT_FSTYPE:-}" ;;
            boot-label) echo "${DIB_BOOT_LABEL:-}" ;;
            mount-points) echo "${DIB_MOUNTPOINTS:-}" ;;
            image-path) echo "${TMP_IMAGE_DIR:-}/image0.raw" ;;
            image-block-device) echo "${IMAGE_BLOCK_DEVICE:-}" ;;
            image-block-devices) echo "${IMAGE_BLOCK_DEVICES:-}" ;;
            *) echo "dibber: ${0##*/}: nothing is known about '$2'" >&2 ;;
        esac
        ;;
    create)
        [ $# -eq 1 ] || usage
        echo "dibber: ${0##*/}: no block device can be made without root; dibber makes the disk itself, after the cleanup phase" >&2
        exit 1
        ;;
    writefstab)
        [ $# -eq 1 ] || usage
        echo "dibber: ${0##*/}: dibber writes /etc/fstab itself, before the pre-finalise phase" >&2
        exit 1
        ;;
    *) usage ;;
esac
