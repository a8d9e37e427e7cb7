"""The service's own log: text for people or one JSON object a line, on standard error; never a key or a text."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_FIELDS = (
    "request_id",
    "method",
    "path",
    "status",
    "ms",
    "model",
    "documents",
    "tokens",
    "job",
    "requests",
    "key",
    "client",
    "error",
)


class JsonFormatter(logging.Formatter):
    """Formatter that writes one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with its time, level, logger and the fields of a request."""
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        row |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row, ensure_ascii=True, default=str)


class TextFormatter(logging.Formatter):
    """Formatter that writes one line for people, with the fields of a request behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record on one line."""
        fields = " ".join(
            f"{name}={_plain(value)}" for name in _FIELDS if (value := getattr(record, name, None)) is not None
        )
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _plain(value: object) -> str:
    """Return a value without line ends and control characters, quoted where it has spaces or an equals sign.

    So no caller writes lines or fields of its own.
    """
    text = str(value).encode("unicode_escape").decode("ascii")
    return json.dumps(text) if set(text) & set(' ="') else text


def configure(kind: str, level: str) -> None:
    """Send the library's and uvicorn's records to standard error; for the program only, never called by the library."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    for name in ("rerankd", "uvicorn"):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.propagate = False
        log.setLevel(level.upper())
    for name in ("celery", "kombu"):  # their own records help only with faults
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.propagate = False
        log.setLevel("DEBUG" if level == "debug" else "ERROR")
    logging.getLogger("uvicorn.access").disabled = True
