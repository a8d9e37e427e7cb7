"""The process that parses: `python -m rerankd.retrieval.parser_worker MEMORY_MB SECONDS`, started by `parser_process`.

Requests come on standard input, documents go to standard output, a batch for each request.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import os
import pickle
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from rerankd._common.error_text import first_line
from rerankd.errors import RerankdError
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.parser_process import ParseRequest, receive

_BATCH = 200
_PORTABLE = frozenset(
    [str, int, float, bool, bytes, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID]
)
_MB = 1_000_000


def main() -> None:
    """Serve requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program that started it decides
    _limit_memory(int(sys.argv[1]))
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the documents
    with contextlib.suppress(EOFError, BrokenPipeError):
        _serve(sys.stdin.buffer, output, int(sys.argv[2]))


def _serve(requests: BinaryIO, output: BinaryIO, seconds: int) -> None:
    batches: Iterator[tuple[str, Any]] = iter(())
    while True:
        request = receive(requests)
        if request is not None:
            batches = _batches(request)
        _limit_time(seconds)
        pickle.dump(next(batches, ("end", None)), output)
        output.flush()


def _batches(request: ParseRequest) -> Iterator[tuple[str, Any]]:
    """Yield the messages for a file: documents, and an error if one ends it."""
    from rerankd.retrieval.parsing import parse_here

    documents = parse_here(
        Path(request.path), text_field=request.text_field, max_mb=request.max_mb, delimiter=request.delimiter
    )
    parsed: list[ParsedDocument] = []
    try:
        while True:
            parsed = []  # rows before an error are passed on
            for document in islice(documents, _BATCH):
                parsed.append(replace(document, metadata=_portable(document.metadata)))
            if not parsed:
                return
            yield "documents", parsed
    except MemoryError:
        yield "error", ("MemoryError", "", "")
    except RerankdError as error:
        if parsed:
            yield "documents", parsed
        yield "error", (type(error).__name__, error.message, error.hint)
    except Exception as error:  # libraries raise anything on a damaged file
        yield "error", ("InvalidInputFileError", f"It cannot be read ({first_line(error)}).", "Save it again.")


def _portable(value: Any) -> Any:
    """Return metadata in types that every program has; a column of Parquet may hold others, such as time zones."""
    if isinstance(value, datetime.datetime):
        return datetime.datetime.fromisoformat(value.isoformat(timespec="microseconds"))
    if isinstance(value, Mapping):
        return {str(key): _portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_portable(item) for item in value]
    return value if value is None or type(value) in _PORTABLE else str(value)


def _limit_memory(megabytes: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * _MB, megabytes * _MB))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: int) -> None:
    """Allow this process some more seconds of processor time, after which the system ends it."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, most))


if __name__ == "__main__":
    main()
