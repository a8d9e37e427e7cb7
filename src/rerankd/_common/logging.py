"""Loggers of the library: silent until the application configures logging; the root logger is never touched."""

from __future__ import annotations

import logging


def logger(name: str) -> logging.Logger:
    """Return the library's logger for a module; silent until the application configures logging."""
    log = logging.getLogger(f"rerankd.{name.removeprefix('rerankd.')}")
    if not logging.getLogger("rerankd").handlers:
        logging.getLogger("rerankd").addHandler(logging.NullHandler())
    return log
