# shellcheck shell=bash
export DIB_DEV_USER_USERNAME=check.dev
export DIB_DEV_USER_GROUPS=users,adm
export DIB_DEV_USER_SHELL=/bin/bash
# shellcheck disable=SC2016
export DIB_DEV_USER_PASSWORD='check: $pass\word'
export DIB_DEV_USER_PWDLESS_SUDO=yes
if [[ ${BASH_SOURCE[0]} != /tmp/in_target.d/* ]]; then
    DIB_DEV_USER_AUTHORIZED_KEYS=$(dirname "$(dirname "${BASH_SOURCE[0]}")")/check-devuser.pub
    export DIB_DEV_USER_AUTHORIZED_KEYS
fi
