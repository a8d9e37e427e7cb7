"""API keys: making them, the file that keeps their digests, and finding the one that a request presents.

Nothing here knows HTTP beyond header values, or what a key may do: limits are kept by `rerankd.server.auth.quotas`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rerankd._common.logging import logger
from rerankd.errors import InvalidInputFileError, InvalidRequestError

PREFIX = "rk-"
LIMITS = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day")
MAX_HEADER = 4096
RELOAD_SECONDS = 1.0

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: everything but the key itself.

    Args:
        id: short public name, safe to log.
        name: whose it is; need not be unique.
        digest: SHA-256 of the clear key, 64 hex digits.
        admin: whether it may administer the service.
        requests_per_minute: requests per minute, None for any number; so are the next three.
        tokens_per_minute: tokens read per minute.
        requests_per_day: requests per UTC day.
        tokens_per_day: tokens read per UTC day.
        created: when it was made, ISO 8601 in UTC.

    Raises:
        InvalidRequestError: a field of the wrong type, or a limit that is not positive.
    """

    id: str
    name: str
    digest: str = field(repr=False)
    admin: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    created: str = ""

    def __post_init__(self) -> None:
        for text in (self.id, self.name):
            if not isinstance(text, str) or not text.strip() or not text.isprintable():
                raise InvalidRequestError("A key's id and name must be printable text that is not blank.")
        if not isinstance(self.digest, str) or not re.fullmatch("[0-9a-f]{64}", self.digest):
            raise InvalidRequestError(f"The digest of key {self.id} must be 64 lower-case hex digits.")
        if not isinstance(self.admin, bool) or not isinstance(self.created, str):
            raise InvalidRequestError(f"Of key {self.id}, admin must be true or false, and created must be text.")
        for label in LIMITS:
            limit = getattr(self, label)
            if limit is not None and (type(limit) is not int or limit < 1):
                raise InvalidRequestError(
                    f"{label} of key {self.id} must be a positive whole number.", hint="Leave it out for no limit."
                )


def digest_of(clear: str) -> str:
    """SHA-256 of a clear key, in hex."""
    # Slow, salted hashes protect guessable passwords. 256 random bits cannot be guessed, however fast the hash is,
    # and this one runs on every request.
    return hashlib.sha256(clear.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(
    name: str,
    *,
    admin: bool = False,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    requests_per_day: int | None = None,
    tokens_per_day: int | None = None,
) -> tuple[str, ApiKey]:
    """Make a key; returns the clear text, which is kept nowhere, and what to keep.

    Raises:
        InvalidRequestError: a blank name, or a limit that is not positive.

    Example:
        >>> clear, key = new_key("search team", requests_per_minute=600)
        >>> len(clear), key.name, key.id == key.digest[:8]
        (46, 'search team', True)
    """
    clear = PREFIX + secrets.token_urlsafe(32)
    digest = digest_of(clear)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    limits = (requests_per_minute, tokens_per_minute, requests_per_day, tokens_per_day)
    return clear, ApiKey(digest[:8], name, digest, admin, *limits, created)


def read_keys(path: Path) -> list[ApiKey]:
    """Read a file that `write_keys` made.

    Raises:
        InvalidInputFileError: it cannot be read, or does not hold keys; the message names the file and the fix.
    """
    try:
        held = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidInputFileError(
            f"The key file {path} does not exist.", hint=f"Make it: rerankd keys add NAME --file {path}"
        ) from error
    except OSError as error:
        raise InvalidInputFileError(
            f"The key file {path} cannot be read ({error.strerror}).", hint="Mend its permissions or name another file."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"is not JSON ({error})") from error
    items = held.get("keys") if isinstance(held, dict) and set(held) == {"keys"} else None
    if not isinstance(items, list):
        raise _malformed(path, 'must hold one object {"keys": [...]}')
    keys = [_key(path, number, item) for number, item in enumerate(items, start=1)]
    _refuse_duplicates(path, keys)
    return keys


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the file at once; only its owner may read it.

    Raises:
        InvalidInputFileError: it cannot be written, or two keys have the same id.
    """
    _refuse_duplicates(path, keys)
    text = json.dumps({"keys": [_written(key) for key in keys]}, ensure_ascii=False, indent=2) + "\n"
    try:
        _replace(path.resolve(), text)  # a link stays a link
    except OSError as error:
        raise InvalidInputFileError(
            f"The key file {path} cannot be written ({error.strerror}).",
            hint="Make its folder, mend the permissions, or name another file with --file.",
        ) from error


class KeyRing:
    """The keys that a service accepts: those in its settings, and those in a file that may change meanwhile.

    Args:
        clear: keys in clear text; hashed at once.
        path: file of hashed keys, or None.
        clock: seconds that only grow.

    Raises:
        InvalidRequestError: a blank key in the settings, or a file that cannot be read.

    Example:
        >>> ring = KeyRing(["rk-secret"], None)
        >>> ring.required, ring.find("rk-secret").name, ring.find("guess")
        (True, 'settings', None)
    """

    def __init__(
        self, clear: Sequence[str], path: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not all(text.strip() for text in clear):
            raise InvalidRequestError("Setting api_keys holds a blank key.", hint="Remove it, or give it a value.")
        digests = [digest_of(text.strip()) for text in clear]
        self._settings = {digest: ApiKey(digest[:8], "settings", digest) for digest in digests}
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._seen = self._stamp()
        self._keys = self._merged(read_keys(path) if path else [])

    @property
    def required(self) -> bool:
        """Whether requests need a key. An empty key file lets nobody in, rather than everybody."""
        return bool(self._keys) or self._path is not None

    def find(self, presented: str) -> ApiKey | None:
        """The key with this clear text, or None."""
        if self._path and self._clock() - self._looked >= RELOAD_SECONDS:
            self.reload()
        digest = digest_of(presented)
        found = None
        for key in self._keys:  # to the end always: the time tells nothing about which key it was
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def reload(self) -> None:
        """Read the file again if it changed; one that is broken leaves the keys as they are and is logged."""
        self._looked = self._clock()
        stamp = self._stamp()
        if self._path is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = self._merged(read_keys(self._path))
        except InvalidRequestError as error:
            log.warning("The keys of before stay valid: %s", error)

    def _merged(self, kept: Sequence[ApiKey]) -> tuple[ApiKey, ...]:
        """A key in both places has the file's name and limits."""
        return tuple((self._settings | {key.digest: key for key in kept}).values())

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key in a request's headers, whose names are lower case: Authorization, X-API-Key, Api-Key, in this order.

    Example:
        >>> presented_key({"authorization": "Bearer rk-secret"})
        'rk-secret'
        >>> presented_key({"authorization": "Bearer", "x-api-key": "rk-other"})
        'rk-other'
    """
    for name in ("authorization", "x-api-key", "api-key"):
        value = headers.get(name, "").strip()
        if not value or len(value) > MAX_HEADER:
            continue
        key = _credentials(value) if name == "authorization" else value
        if key:
            return key
    return None


def _credentials(value: str) -> str:
    scheme, *rest = value.split(None, 1)
    given = rest[0] if rest else ""
    match scheme.lower():
        case "bearer":
            return given
        case "basic":  # what browsers send after asking for a name and a password
            try:
                user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
            except ValueError:
                return ""
            return password or user
        case _:
            return value


def _key(path: Path, number: int, item: Any) -> ApiKey:
    if not isinstance(item, dict):
        raise _malformed(path, f"has no object at key {number}")
    if unknown := sorted(set(item) - {entry.name for entry in dataclasses.fields(ApiKey)}):
        raise _malformed(path, f"has an unknown field {unknown[0]!r} at key {number}")
    if missing := sorted({"id", "name", "digest"} - set(item)):
        raise _malformed(path, f"has no {missing[0]} at key {number}")
    try:
        return ApiKey(**item)
    except InvalidRequestError as error:
        raise _malformed(path, f"cannot be used at key {number}: {error.message.removesuffix('.')}") from error


def _written(key: ApiKey) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(key).items() if value is not None}


def _refuse_duplicates(path: Path, keys: Sequence[ApiKey]) -> None:
    for label in ("id", "digest"):
        seen: set[str] = set()
        for key in keys:
            value = getattr(key, label)
            if value in seen:
                raise _malformed(path, f"has two keys with the same {label}, {key.id}")
            seen.add(value)


def _malformed(path: Path, why: str) -> InvalidInputFileError:
    return InvalidInputFileError(
        f"The key file {path} {why}.", hint="Mend that entry, or move the file away and make new keys."
    )


def _replace(target: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if hasattr(os, "chown") and target.exists():
            # An administrator who edits the file must not take it away from the account that the service runs as.
            before = target.stat()
            with suppress(PermissionError):
                os.chown(temporary, before.st_uid, before.st_gid)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
