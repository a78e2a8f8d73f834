#!/bin/bash
# A module of dracut that runs the init of ramdisk-base before a root would be
# mounted. dracut sources it.
# dib-lint: disable=setu sete setpipefail dibdebugtrace

check() {
    return 255 # only where it is asked for
}

depends() {
    echo base network-legacy network
}

install() {
    # shellcheck disable=SC2154 # dracut says where this file is
    inst_hook cmdline 80 "$moddir/deploy-cmdline.sh"
    inst_hook pre-mount 50 "$moddir/deploy.sh"
}
