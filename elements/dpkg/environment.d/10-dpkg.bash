export DIB_ADD_APT_KEYS=${DIB_ADD_APT_KEYS:-}

# A machine that takes old signatures (a frozen mirror) builds images that way
# too. Inside the image the same question finds the answer written for the build.
if [ -z "${DIB_APT_CHECK_VALID_UNTIL:-}" ] && command -v apt-config >/dev/null; then
    DIB_APT_CHECK_VALID_UNTIL=$(apt-config --format '%v' dump Acquire::Check-Valid-Until || true)
fi
export DIB_APT_CHECK_VALID_UNTIL=${DIB_APT_CHECK_VALID_UNTIL:-true}
