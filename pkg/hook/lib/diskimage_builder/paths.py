"""Where the shell libraries and the built-in elements lie."""

import os
import sys


def get_path(var):
    """Give the directory of "lib" or of "elements"."""
    if var == "lib":
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
    if var == "elements":
        return os.environ["_BASE_ELEMENT_DIR"]
    sys.exit("diskimage_builder.paths: %r is neither lib nor elements" % var)


def show_path(var):
    """Print what get_path gives."""
    print(get_path(var))
