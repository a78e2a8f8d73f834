# shellcheck shell=bash
if [[ ${BASH_SOURCE[0]} != /tmp/in_target.d/* ]]; then
    DIB_CI_MIRROR_INFO=$(dirname "$(dirname "${BASH_SOURCE[0]}")")/check-openstack-ci-mirrors.sh
    export DIB_CI_MIRROR_INFO
fi
