# shellcheck shell=bash
export DIB_DHCP_TIMEOUT=17
