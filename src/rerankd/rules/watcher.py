"""A rule file that is reloaded while requests are served: a valid change takes over, an invalid one never does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from rerankd._common.logging import logger
from rerankd.errors import RerankdError
from rerankd.rules.rule_file import read_rules
from rerankd.rules.rule_set import RuleSet

POLL_SECONDS = 1.0
NO_RULES = RuleSet(())

_log = logger(__name__)


class RulesWatcher:
    """The current rules of a file. Thread-safe.

    A thread of its own polls the file, so that no request waits for it; a request keeps the rules that it began with.
    A file that is written in place is read once it has not changed for `interval` seconds, because half of it may be
    valid too; a file that is moved into place is read at once.

    Args:
        path: the rule file.
        interval: seconds between two polls.
        on_reload: called after each attempt to load a changed file, with True if it succeeded.

    Attributes:
        current: the rules in force.
        error: message of the last failed reload; empty if the rules in force are those of the file.
        reloads: number of successful reloads.

    Raises:
        InvalidInputFileError: the file cannot be used, and there are no earlier rules to keep.

    Example:
        >>> RulesWatcher(Path("rules.yaml")).current.version  # doctest: +SKIP
        'f1d2d2f924e9'
    """

    def __init__(
        self, path: Path, interval: float = POLL_SECONDS, on_reload: Callable[[bool], None] = lambda success: None
    ) -> None:
        self._path, self._interval, self._on_reload = path, interval, on_reload
        self._loaded_stat = self._stat()
        self.current: RuleSet = read_rules(path)
        self.error = ""
        self.reloads = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that polls the file."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="rerankd-rules", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def poll(self) -> bool:
        """Reload the file if it has changed since the last poll.

        Returns:
            True if other rules are in force now.
        """
        stat = self._stat()
        if stat == self._loaded_stat:
            return False
        modified_ns, _, inode = stat
        if inode == self._loaded_stat[2] and 0 <= time.time() - modified_ns / 1e9 < self._interval:
            return False  # written in place, and perhaps still being written
        started = time.monotonic()
        try:
            rules = read_rules(self._path)
        except (RerankdError, MemoryError) as error:
            self._loaded_stat, self.error = stat, str(error)
            _log.error("The rule file was not reloaded, version %s stays in force: %s", self.current.version, error)
            self._on_reload(False)
            return False
        self._loaded_stat, self.error = stat, ""
        if rules.version == self.current.version:
            return False
        self.current = rules
        self.reloads += 1
        milliseconds = (time.monotonic() - started) * 1000
        _log.info("Reloaded the rule file: version %s, %d rules, %.0f ms", rules.version, len(rules), milliseconds)
        self._on_reload(True)
        return True

    def _stat(self) -> tuple[int, int, int]:
        try:
            stat = self._path.stat()
        except OSError:
            return 0, 0, 0
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.poll()
            except Exception as error:  # a dead thread would keep old rules in force for ever
                _log.exception("The rule file could not be polled", exc_info=error)


def rules_provider(watcher: RulesWatcher | None) -> Callable[[], RuleSet]:
    """Return a function that gives the rules in force; without a watcher, an empty rule set.

    Example:
        >>> len(rules_provider(None)())
        0
    """
    if watcher is None:
        return lambda: NO_RULES
    return lambda: watcher.current
