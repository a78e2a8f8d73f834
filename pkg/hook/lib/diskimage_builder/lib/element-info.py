#!/bin/bash
# element-info.py [--env] ELEMENT...: prints the elements with all that they
# need, or the variables and the function that tell hooks of them. The name is
# diskimage-builder's; there is no Python in it.

exec "${DIBBER:?is the path of dibber, and not set}" hook-tool element-info "$@"
