# shellcheck shell=bash
export DIB_SIMPLE_INIT_NETWORKMANAGER=${DIB_SIMPLE_INIT_NETWORKMANAGER:-0}
export DIB_SIMPLE_INIT_NO_DHCP_FALLBACK=${DIB_SIMPLE_INIT_NO_DHCP_FALLBACK:-0}

# The repository is fetched when it is asked for, and only then.
if [[ ${DIB_INSTALLTYPE_simple_init:-${DIB_DEFAULT_INSTALLTYPE:-}} == repo ]]; then
    export DIB_INSTALLTYPE_glean=source
else
    export DIB_INSTALLTYPE_glean=package
fi
