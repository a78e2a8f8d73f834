# shellcheck shell=bash
# The firmware of 64-bit ARM machines starts from an ESP only.
case ${ARCH:-} in
    arm64 | aarch64)
        echo "block-device-mbr cannot boot on $ARCH: use block-device-efi" >&2
        exit 1
        ;;
esac
export DIB_BLOCK_DEVICE=mbr
