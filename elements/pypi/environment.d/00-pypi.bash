# What pip and uv are told in their environment wins over every file that the
# image has, or that a virtual environment brings. extra-data.d/01 writes it, and
# it ends with the phases in which the mirror is there. The host never has it.
if [ -f /tmp/in_target.d/pypi-mirror/environment ]; then
    # shellcheck source=/dev/null
    . /tmp/in_target.d/pypi-mirror/environment
fi
