#!/bin/sh
# Runs the init of ramdisk-base, as a program of its own: it is for bash. dracut
# sources this.
# dib-lint: disable=setu sete setpipefail dibdebugtrace
/bin/bash /deploy-init </dev/console >/dev/console 2>&1
