# These come before those of oci-image, which keeps what is set. Without
# DIB_RELEASE it takes the release's name from the image.
export DISTRO_NAME=debian
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/debian
export DIB_CONTAINER_IMAGE=${DIB_CONTAINER_IMAGE:-docker.io/library/debian:${DIB_RELEASE:-stable}}
export DIB_DISTRIBUTION_MIRROR=${DIB_DEBIAN_DISTRIBUTION_MIRROR:-${DIB_DISTRIBUTION_MIRROR:-}}
export DIB_DEBIAN_COMPONENTS=${DIB_DEBIAN_COMPONENTS:-main}
