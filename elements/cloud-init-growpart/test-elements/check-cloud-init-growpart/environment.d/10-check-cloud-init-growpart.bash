# shellcheck shell=bash
export DIB_CLOUD_INIT_GROWPART_DEVICES="
    - /
    - '/dev/vda3'
"
