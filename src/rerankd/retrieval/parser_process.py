"""Parsing in a process of its own, so that no file can take the time, the memory or the life of the program.

A process is started with the first file and parses one file after the other. The system ends it when a file takes too
much processor time, and on Linux refuses it more memory than the limit; the program ends it when it does not answer.
What it sends is unpickled into a few known types only.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from rerankd import errors
from rerankd.errors import InvalidInputFileError, RerankdError
from rerankd.retrieval.parsed_document import ParsedDocument

_MODULE = "rerankd.retrieval.parser_worker"
_CLOCK = 10  # time by the clock for each second of processor time
_TYPES = frozenset(
    [
        ("rerankd.retrieval.parsed_document", "ParsedDocument"),
        ("rerankd.retrieval.splitting", "Block"),
        *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
        ("decimal", "Decimal"),
        ("uuid", "UUID"),
    ]
)


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one file may cost.

    Attributes:
        seconds: most processor time for a document, or for some hundred rows of a table, so that a busy machine refuses
            the same files as an idle one; the time by the clock may be ten times as long.
        memory_mb: most memory of the process that parses, in MB; on Linux only.
    """

    seconds: int = 60
    memory_mb: int = 2000


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """A file and how it is to be read; see `rerankd.retrieval.parsing.parse`."""

    path: str
    text_field: str | None
    max_mb: float
    delimiter: str | None


def parse_in_process(request: ParseRequest, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """Parse a file in another process.

    Raises:
        InvalidInputFileError: the file cannot be read, or costs more than the limits.
        MissingDependencyError: an extra is not installed.
    """
    process = _take(limits)
    try:
        yield from process.parse(request)
    finally:  # also when the caller stops before the end
        if process.is_ready:
            _give_back(process)
        else:
            process.close()


class _ParserProcess:
    """A process that parses, one file at a time."""

    def __init__(self, limits: ParseLimits) -> None:
        self.limits = limits
        self.is_ready = True
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {"PYTHONPATH": paths, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        self._process = subprocess.Popen(  # noqa: S603  our own module; -P: nothing is imported from the current folder
            [sys.executable, "-P", "-m", _MODULE, str(limits.memory_mb), str(limits.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def parse(self, request: ParseRequest) -> Iterator[ParsedDocument]:
        self.is_ready = False
        kind, content = self._ask(request)
        while kind == "documents":
            yield from content
            kind, content = self._ask(None)
        if kind == "error":
            name, message, hint = content
            self.is_ready = name != "MemoryError"
            raise self._error(name, message, hint)
        self.is_ready = True

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()

    def _ask(self, request: ParseRequest | None) -> tuple[str, Any]:
        """Ask for the next documents, of a new file if one is given, and wait for them for as long as allowed."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018  for mypy
        timer = threading.Timer(self.limits.seconds * _CLOCK, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            pickle.dump(None if request is None else tuple_of(request), self._process.stdin)
            self._process.stdin.flush()
            kind, content = _Unpickler(self._process.stdout).load()
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._end(killed=not timer.is_alive()) from error
        finally:
            timer.cancel()
        return kind, content

    def _end(self, *, killed: bool) -> InvalidInputFileError:
        code = self._process.wait()
        if killed or code == -getattr(signal, "SIGXCPU", 0):
            return InvalidInputFileError(
                f"It takes longer than {self.limits.seconds} seconds to read.", hint="Split it, or save it again."
            )
        return InvalidInputFileError(f"The parser ended with code {code} while reading it.", hint="Save it again.")

    def _error(self, name: str, message: str, hint: str) -> RerankdError:
        if name == "MemoryError":
            return InvalidInputFileError(
                f"It needs more than {self.limits.memory_mb} MB of memory to read.", hint="Split it."
            )
        error: type[RerankdError] = getattr(errors, name, InvalidInputFileError)
        return error(message, hint=hint)


class _Unpickler(pickle.Unpickler):
    """Reads the messages of a parser; whatever a file made of it, it cannot run code here."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _TYPES:
            raise pickle.UnpicklingError(f"{module}.{name} is not expected.")
        return super().find_class(module, name)


def tuple_of(request: ParseRequest) -> tuple[str, str | None, float, str | None]:
    """Return a request in the form in which it is sent."""
    return request.path, request.text_field, request.max_mb, request.delimiter


def receive(stream: BinaryIO) -> ParseRequest | None:
    """Return the next request of the program; None for more documents of the same file.

    Raises:
        EOFError: the program has ended.
    """
    fields = _Unpickler(stream).load()
    return None if fields is None else ParseRequest(*fields)


_lock = threading.Lock()
_idle: list[_ParserProcess] = []


def _take(limits: ParseLimits) -> _ParserProcess:
    with _lock:
        while _idle:
            process = _idle.pop()
            if process.limits == limits and process.is_alive:
                return process
            process.close()
    return _ParserProcess(limits)


def _give_back(process: _ParserProcess) -> None:
    with _lock:
        _idle.append(process)


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


def _forget() -> None:
    """Leave the processes to the parent of a fork, whose pipes they read."""
    global _lock
    _lock = threading.Lock()
    for process in _idle:
        process._process.returncode = 0  # not ours to wait for
    _idle.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
