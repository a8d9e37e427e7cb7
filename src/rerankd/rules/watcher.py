"""A file of rules that may change while requests are answered: a good one takes over, a bad one never does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from rerankd._common.logging import logger
from rerankd.errors import RerankdError
from rerankd.rules.rule_file import read_rules
from rerankd.rules.rule_set import RuleSet
from rerankd.settings import Settings

LOOK_SECONDS = 1.0
NO_RULES = RuleSet(())

_log = logger(__name__)


class LiveRules:
    """The rules of a file as they are now. Thread-safe.

    The file is looked at by a thread of its own, so no request waits for it, and a request keeps the rules that it
    began with. A file that is written in place is read once it has rested for `seconds`, since half of it may be valid
    rules too; one that is moved into place is read at once.

    Args:
        path: the file.
        seconds: between looks.
        changed: told of each attempt to take over a changed file, with True if it was good.

    Raises:
        InvalidInputFileError: the file cannot be used; there is nothing else to fall back to yet.

    Example:
        >>> LiveRules(Path("rules.yaml")).current.version  # doctest: +SKIP
        'f1d2d2f924e9'
    """

    def __init__(
        self, path: Path, seconds: float = LOOK_SECONDS, changed: Callable[[bool], None] = lambda good: None
    ) -> None:
        self._path, self._seconds, self._changed = path, seconds, changed
        self._seen = self._stamp()
        self.current: RuleSet = read_rules(path)
        self.fault = ""
        self.reloads = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="rerankd-rules", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> bool:
        """Read the file if it changed since the last look; whether other rules are in force now."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        if stamp[2] == self._seen[2] and 0 <= time.time() - stamp[0] / 1e9 < self._seconds:
            return False
        began = time.monotonic()
        try:
            found = read_rules(self._path)
        except (RerankdError, MemoryError) as error:
            self._seen, self.fault = stamp, str(error)
            _log.error("rules %s stay in force: %s", self.current.version, error)
            self._changed(False)
            return False
        self._seen, self.fault = stamp, ""
        if found.version == self.current.version:
            return False
        self.current = found
        self.reloads += 1
        spent = (time.monotonic() - began) * 1000
        _log.info("rules %s in force, %d rules, read in %.0f ms", found.version, len(found), spent)
        self._changed(True)
        return True

    def _stamp(self) -> tuple[int, int, int]:
        try:
            about = self._path.stat()
        except OSError:
            return 0, 0, 0
        return about.st_mtime_ns, about.st_size, about.st_ino

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.look()
            except Exception as error:  # a watcher that dies would leave old rules in force for ever
                _log.exception("rules could not be looked at", exc_info=error)


def open_rules(settings: Settings, changed: Callable[[bool], None] = lambda good: None) -> LiveRules | None:
    """The rules that the settings name, not watched yet; None where they name none.

    Raises:
        InvalidInputFileError: the file cannot be used.
        MissingDependencyError: the extra `rules` is not installed.
    """
    return LiveRules(Path(settings.rules), changed=changed) if settings.rules else None


def rules_of(live: LiveRules | None) -> Callable[[], RuleSet]:
    """Gives the rules in force; those without a file are none."""
    if live is None:
        return lambda: NO_RULES
    return lambda: live.current
