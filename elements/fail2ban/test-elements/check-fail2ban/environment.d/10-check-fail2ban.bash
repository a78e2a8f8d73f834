# shellcheck shell=bash
# Outside the image the file lies beside this one; inside it is only a name.
if [[ ${BASH_SOURCE[0]} != /tmp/in_target.d/* ]]; then
    DIB_FAIL2BAN_CONF=$(dirname "$(dirname "${BASH_SOURCE[0]}")")/check-fail2ban-jail.local
    export DIB_FAIL2BAN_CONF
fi
