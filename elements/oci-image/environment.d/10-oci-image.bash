# Names the operating system that the image holds, from its os-release file.
# The file is the work of others: it is read as text, never run, and a value
# with any but plain characters counts as none.

oci_image_environment() {
    local root='' release key value id='' codename='' version=''

    case ${BASH_SOURCE[0]} in
        /tmp/in_target.d/*) ;;
        *) root=$TMP_MOUNT_PATH ;;
    esac
    for release in /etc/os-release /usr/lib/os-release; do
        if [ -n "$root" ]; then
            release=$("$TMP_HOOKS_PATH/bin/target-path" "$root" "$release")
        fi
        if [ -f "$release" ]; then
            while IFS='=' read -r key value || [ -n "$key" ]; do
                value=${value%\"}
                value=${value#\"}
                value=${value%\'}
                value=${value#\'}
                if [[ ! $value =~ ^[0-9A-Za-z._-]+$ ]]; then
                    continue
                fi
                case $key in
                    ID) id=${value,,} ;;
                    VERSION_CODENAME) codename=$value ;;
                    VERSION_ID) version=$value ;;
                esac
            done < <(head -c 65536 "$release")
            break
        fi
    done
    id=${id:-linux}

    export EFI_BOOT_DIR=${EFI_BOOT_DIR:-EFI/$id}
    case $id in
        opensuse*) id=opensuse ;;
    esac
    export DISTRO_NAME=${DISTRO_NAME:-$id}
    export DIB_RELEASE=${DIB_RELEASE:-${codename:-${version:-rolling}}}

    # An image without an init system, as most are, is to get systemd.
    if [ -z "${DIB_INIT_SYSTEM:-}" ]; then
        DIB_INIT_SYSTEM=systemd
        if ! [ -e "$root/usr/lib/systemd/systemd" ] && ! [ -e "$root/lib/systemd/systemd" ]; then
            if [ "$id" = alpine ] || [ -e "$root/sbin/openrc" ]; then
                DIB_INIT_SYSTEM=openrc
            elif [ -e "$root/sbin/init" ] && [ -e "$root/etc/inittab" ]; then
                DIB_INIT_SYSTEM=sysv
            fi
        fi
    fi
    export DIB_INIT_SYSTEM

    # One that is to boot needs a kernel.
    case " ${IMAGE_ELEMENT:-} " in
        *' bootloader '* | *' vm '*) DIB_OCI_IMAGE_KERNEL=${DIB_OCI_IMAGE_KERNEL:-1} ;;
    esac
    export DIB_OCI_IMAGE_KERNEL=${DIB_OCI_IMAGE_KERNEL:-0}
}
oci_image_environment
unset -f oci_image_environment
