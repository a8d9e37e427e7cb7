"""The file that stores API keys, as digests."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerankd._common.files import lock_file, writable, write_atomic
from rerankd._common.json_parsing import parse_json
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.server.auth.keys import ApiKey

LOCK_SECONDS = 10.0
HINT = "Create its folder, fix the permissions, or name another file with --file."


def read_keys(path: Path) -> list[ApiKey]:
    """Read a key file.

    Raises:
        InvalidInputFileError: it cannot be read, or is malformed; the message names the file and the fix.
    """
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidInputFileError(
            f"The key file {path} does not exist.", hint=f"Create it: rerankd keys add NAME --file {path}"
        ) from error
    except OSError as error:
        raise InvalidInputFileError(
            f"The key file {path} cannot be read ({error.strerror}).",
            hint="Give the service's group access: chgrp GROUP FILE && chmod 640 FILE.",
        ) from error
    except ValueError as error:
        raise _malformed(path, f"is not JSON ({error})") from error
    items = content.get("keys") if isinstance(content, dict) and set(content) == {"keys"} else None
    if not isinstance(items, list):
        raise _malformed(path, 'must hold one object {"keys": [...]}')
    keys = [_parse_key(path, number, item) for number, item in enumerate(items, start=1)]
    _refuse_duplicates(path, keys)
    return keys


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the key file atomically; its owner may read it, and its group if that could read it before.

    A new file is readable by the group of its folder if the folder passes its group on (`chmod g+s`).

    Raises:
        InvalidInputFileError: it cannot be written, or two keys have the same id.
    """
    _refuse_duplicates(path, keys)
    text = json.dumps({"keys": [_to_json(key) for key in keys]}, ensure_ascii=False, indent=2) + "\n"
    with writable(f"The key file {path}", hint=HINT, raises=InvalidInputFileError):
        # An administrator who edits the file must not take it away from the account that the service runs as.
        write_atomic(path, text.encode(), mode=_mode(path), keep_owner=True)


@contextmanager
def exclusive_access(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file between reading and writing it, which would lose a key.

    Raises:
        InvalidInputFileError: the folder cannot be written, or another process does not finish.
    """
    from filelock import Timeout

    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():  # writing says so
        yield
        return
    lock = lock_file(target.with_name(f".{target.name}.lock"), timeout=LOCK_SECONDS, mode=0o600)
    with writable(f"The key file {path}", hint=HINT, raises=InvalidInputFileError):
        try:
            lock.acquire()
        except Timeout as error:
            raise InvalidInputFileError(
                f"Another process is changing the key file {path}.", hint="Try again when it has ended."
            ) from error
    try:
        yield
    finally:
        lock.release()


def _parse_key(path: Path, number: int, item: Any) -> ApiKey:
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


def _to_json(key: ApiKey) -> dict[str, Any]:
    optional = {"expires": "", "tenant": "", "metrics": False, "best_priority": 0}
    values = dataclasses.asdict(key)
    return {name: value for name, value in values.items() if value is not None and optional.get(name) != value}


def _mode(path: Path) -> int:
    """Return the permissions of the file to write: 0600, with those that its group has or inherits to read it."""
    try:
        group = path.stat().st_mode & stat.S_IRGRP
    except OSError:
        group = stat.S_IRGRP if path.resolve().parent.stat().st_mode & stat.S_ISGID else 0
    return 0o600 | group


def _refuse_duplicates(path: Path, keys: Sequence[ApiKey]) -> None:
    for label in ("id", "digest"):
        seen: set[str] = set()
        for key in keys:
            value = getattr(key, label)
            if value in seen:
                raise _malformed(path, f"has two keys with the same {label}, {key.id}")
            seen.add(value)


def _malformed(path: Path, fault: str) -> InvalidInputFileError:
    return InvalidInputFileError(
        f"The key file {path} {fault}.", hint="Fix that entry, or move the file away and create new keys."
    )
