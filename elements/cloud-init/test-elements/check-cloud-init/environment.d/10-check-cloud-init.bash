# shellcheck shell=bash
export DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH=1
