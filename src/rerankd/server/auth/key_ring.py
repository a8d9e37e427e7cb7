"""The keys in force: those of the settings and of the key file, which is read again when it changes."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rerankd._common.logging import logger
from rerankd.errors import InvalidRequestError
from rerankd.server.auth.key_file import read_keys
from rerankd.server.auth.keys import ApiKey, digest_of

RELOAD_SECONDS = 1.0
_log = logger(__name__)


class KeyRing:
    """Keys that a service accepts: those of its settings, and those of a file that may change while it runs.

    Args:
        clear: keys in clear text; only their digests are stored.
        metrics: keys in clear text that may read `/metrics` only.
        path: key file; None for none.
        clock: monotonic clock in seconds.

    Raises:
        InvalidRequestError: a key of the settings is blank, or the file cannot be read.

    Example:
        >>> ring = KeyRing(["rk-secret"], None)
        >>> ring.required, ring.find("rk-secret").name, ring.find("guess")
        (True, 'settings', None)
    """

    def __init__(
        self,
        clear: Sequence[str],
        path: Path | None = None,
        *,
        metrics: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings: dict[str, ApiKey] = {}
        for name, keys in (("metrics_keys", metrics), ("api_keys", clear)):
            if not all(text.strip() for text in keys):
                raise InvalidRequestError(
                    f"Setting {name} contains a blank key.", hint="Remove it, or give it a value."
                )
            for digest in (digest_of(text.strip()) for text in keys):
                self._settings[digest] = ApiKey(digest[:8], "settings", digest, metrics=name == "metrics_keys")
        self._path = path
        self._clock = clock
        self._checked_at = clock()
        self._last_stamp = self._stamp()
        self._keys = self._merged(read_keys(path) if path else [])

    @property
    def required(self) -> bool:
        """True if requests need a key. An empty key file lets nobody in, rather than everybody."""
        return self._path is not None or any(not key.metrics for key in self._keys)

    def find(self, presented: str) -> ApiKey | None:
        """Return the record of a key; None if it is unknown."""
        self._reload_if_due()
        digest = digest_of(presented)
        match = None
        for key in self._keys:  # never stop early: the time must not tell which key it was
            if hmac.compare_digest(key.digest, digest):
                match = key
        return match

    def find_by_id(self, key_id: str) -> ApiKey | None:
        """Return the record of the key with a public id; None if there is none any more."""
        self._reload_if_due()
        return next((key for key in self._keys if key.id == key_id), None)

    def _reload_if_due(self) -> None:
        if self._path and self._clock() - self._checked_at >= RELOAD_SECONDS:
            self.reload()

    def reload(self) -> None:
        """Read the file again if it changed; a malformed one is logged, and the previous keys stay valid."""
        self._checked_at = self._clock()
        stamp = self._stamp()
        if self._path is None or stamp == self._last_stamp:
            return
        self._last_stamp = stamp
        try:
            self._keys = self._merged(read_keys(self._path))
        except InvalidRequestError as error:
            _log.warning("The previous keys stay valid: %s", error)

    def _merged(self, stored: Sequence[ApiKey]) -> tuple[ApiKey, ...]:
        """Merge the keys of settings and file; a key in both has the file's name and limits."""
        return tuple((self._settings | {key.digest: key for key in stored}).values())

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
