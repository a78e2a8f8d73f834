# shellcheck shell=bash
export DIB_SIMPLE_INIT_NO_DHCP_FALLBACK=1
