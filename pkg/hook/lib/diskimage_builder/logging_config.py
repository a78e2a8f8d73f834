"""Logging of hooks: to stderr, in detail when DIB_DEBUG_TRACE is above 0."""

import json
import logging
import logging.config
import os

FORMAT = "%(levelname)s %(name)s [-] %(message)s"
WHERE = " %(funcName)s %(pathname)s:%(lineno)d"


class DibFormatter(logging.Formatter):
    """A formatter that says more of debugging messages."""

    def __init__(self, fmt=FORMAT, debug_suffix=WHERE, **kwargs):
        super().__init__(fmt, **kwargs)
        self._detailed = logging.Formatter(fmt + debug_suffix, **kwargs)

    def format(self, record):
        if record.levelno == logging.DEBUG:
            return self._detailed.format(record)
        return super().format(record)


def setup():
    """Set logging up as the file of DIB_PYTHON_LOGGING_CONFIG_FILE says."""
    config = os.environ.get("DIB_PYTHON_LOGGING_CONFIG_FILE")
    if config:
        with open(config) as file:
            logging.config.dictConfig(json.load(file))
        return
    detailed = int(os.environ.get("DIB_DEBUG_TRACE") or 0) > 0
    handler = logging.StreamHandler()
    handler.setFormatter(DibFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if detailed else logging.INFO)
