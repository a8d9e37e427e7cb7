"""`rerankd keys`: add, rotate, list, revoke."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd.cli import options
from rerankd.cli.output import cell, say, stdout, wants_json, write_rows
from rerankd.errors import InvalidRequestError
from rerankd.ranking.priority import LEAST_URGENT, MOST_URGENT
from rerankd.server.auth.key_file import exclusive_access, read_keys, write_keys
from rerankd.server.auth.keys import LIMITS, ApiKey, new_key
from rerankd.settings import FILE_NAME, load_settings

DEFAULT_FILE = "rerankd-keys.json"
_DURATION = re.compile(r"(\d{1,6})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}

app = typer.Typer(help="Create, rotate, list and revoke API keys.", no_args_is_help=True)
File = Annotated[
    Path | None,
    typer.Option(help=f"File of keys.  [default: setting api_keys_file, else {DEFAULT_FILE}]", dir_okay=False),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Limit.  [default: none; with --tenant, that of the tenant]")]
Key = Annotated[str, typer.Argument(metavar="ID_OR_NAME", help="Id or name of the key.")]
EXPIRES = "Time from which the key is refused: 12h, 30d, 8w, a date such as 2027-01-31 (UTC), or never."


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the user or team.")],
    admin: Annotated[bool, typer.Option("--admin", help="Allow administration of the service.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Allow reading /metrics, and nothing else.")] = False,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="ID_OR_NAME", help="Key whose tenant this one joins: it shares its limits and its data."),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="WHEN", help=f"{EXPIRES}  [default: never]")] = None,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    requests_per_day: Limit = None,
    tokens_per_day: Limit = None,
    best_priority: Annotated[
        int | None,
        typer.Option(
            min=MOST_URGENT,
            max=LEAST_URGENT,
            help="Most urgent priority that its requests may have: 0 for any, up to 999.  [default: 0; with --tenant, "
            "that of the tenant]",
        ),
    ] = None,
    file: File = None,
    as_json: options.Json = False,
) -> None:
    """Create a key and print it. It is shown only once: the file stores its hash.

    Each key is a tenant of its own, unless `--tenant` names another key.
    """
    path, configured = _file(file)
    with exclusive_access(path):
        kept = read_keys(path) if path.exists() else []
        if any(key.name == name for key in kept):
            raise InvalidRequestError(
                f"There is a key named {name!r} in {path}.",
                hint=f"Replace it: rerankd keys rotate NAME. For a second key of its tenant: rerankd keys add OTHER "
                f"--tenant {shlex.quote(name)}",
            )
        limits: dict[str, int | None] = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "requests_per_day": requests_per_day,
            "tokens_per_day": tokens_per_day,
        }
        joined = _find(tenant, kept, path, lasting=True) if tenant is not None else None
        if joined is not None:
            limits = {label: getattr(joined, label) if limit is None else limit for label, limit in limits.items()}
            best_priority = joined.best_priority if best_priority is None else best_priority
        clear, key = new_key(
            name,
            admin=admin,
            metrics=metrics,
            tenant=joined.tenant_id if joined else "",
            expires=_future(expires) if expires is not None else "",
            best_priority=best_priority or MOST_URGENT,
            **limits,
        )
        write_keys(path, [*kept, key])
    _show_new(clear, key, path, as_json)
    if not configured:
        full = str(path.resolve())
        say(f"To use the file, add this line to {FILE_NAME}: api_keys_file = {json.dumps(full, ensure_ascii=False)}")
        say(f"or set the environment variable RERANKD_API_KEYS_FILE={shlex.quote(full)}")


@app.command()
def rotate(
    key: Key,
    keep: Annotated[
        str, typer.Option(metavar="WHEN", help="How long the old key still works: 24h, 7d, or until a date.")
    ] = "0h",
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help=f"{EXPIRES}  [default: that of the old key]")
    ] = None,
    file: File = None,
    as_json: options.Json = False,
) -> None:
    """Replace a key by a new one of the same tenant, with the same name, rights, limits and expiry, and print it.

    `--keep` never lets the old key outlive its own expiry.
    """
    path, _ = _file(file)
    with exclusive_access(path):
        keys = read_keys(path)
        old = _find(key, keys, path, lasting=True)
        until = _earlier(_expiry(keep), old.expires)
        clear, new = new_key(
            old.name,
            admin=old.admin,
            metrics=old.metrics,
            tenant=old.tenant_id,
            expires=_future(expires) if expires is not None else _unexpired(old),
            best_priority=old.best_priority,
            **{label: getattr(old, label) for label in LIMITS},
        )
        is_kept = not dataclasses.replace(old, expires=until).expired(datetime.now(UTC).timestamp())
        replaced = [dataclasses.replace(old, expires=until)] if is_kept else []
        write_keys(path, [other for entry in keys for other in (replaced if entry.id == old.id else [entry])] + [new])
    _show_new(clear, new, path, as_json)
    say(f"Key {old.id} is refused from {until} on." if is_kept else f"Key {old.id} is revoked.")


@app.command("list")
def list_keys(file: File = None, as_json: options.Json = False) -> None:
    """List the keys in the file, without their hashes."""
    path, _ = _file(file)
    keys = read_keys(path)
    if wants_json(as_json):
        write_rows(_row(key) for key in keys)
        return
    labels = (limit.replace("_per_", "/").replace("minute", "min") for limit in LIMITS)
    table = Table("id", "name", "tenant", "rights", "priority", *labels, "created", "expires")
    for key in keys:
        limits = (str(getattr(key, limit) or "") for limit in LIMITS)
        rights = "admin" if key.admin else "metrics" if key.metrics else ""
        names = (cell(key.id), cell(key.name), cell(key.tenant_id), rights, str(key.best_priority))
        table.add_row(*names, *limits, cell(key.created), cell(key.expires))
    stdout().print(table)


@app.command()
def revoke(key: Key, file: File = None, as_json: options.Json = False) -> None:
    """Remove a key from the file; a running service rejects it within a second."""
    path, _ = _file(file)
    with exclusive_access(path):
        keys = read_keys(path)
        revoked = _find(key, keys, path)
        write_keys(path, [other for other in keys if other.id != revoked.id])
    if wants_json(as_json):
        write_rows([_row(revoked) | {"revoked": True}])
    say(f"Key {revoked.id} ({revoked.name}) is revoked.")


def _show_new(clear: str, key: ApiKey, path: Path, as_json: bool) -> None:
    if wants_json(as_json):
        write_rows([{"key": clear} | _row(key)])
    else:
        stdout().print(clear, markup=False, highlight=False, soft_wrap=True)
    end = f" It is refused from {key.expires} on." if key.expires else ""
    say(f"Key {key.id} ({key.name}) is in {path}. Store the key now: it is not shown again.{end}")


def _future(text: str) -> str:
    """Return the time at which a new key expires; empty for never."""
    if text.strip().lower() == "never":
        return ""
    moment = _expiry(text)
    if datetime.fromisoformat(moment) <= datetime.now(UTC):
        raise InvalidRequestError(f"{text!r} is not in the future.", hint="Write 12h, 30d, 8w or a later date.")
    return moment


def _unexpired(old: ApiKey) -> str:
    """Return the time at which a key expires, which its successor takes over; empty for never."""
    if old.expired(datetime.now(UTC).timestamp()):
        raise InvalidRequestError(
            f"Key {old.id} ({old.name}) expired at {old.expires}.",
            hint="Say how long the new key is valid: --expires 30d, or --expires never.",
        )
    return old.expires


def _earlier(moment: str, other: str) -> str:
    """Return the earlier of two times; the other one may be empty for never."""
    return min(moment, other or moment, key=datetime.fromisoformat)


def _expiry(text: str) -> str:
    """Return the time that a duration from now, or a date, stands for."""
    if match := _DURATION.fullmatch(text.strip()):
        moment = datetime.now(UTC) + timedelta(hours=int(match[1]) * _HOURS[match[2]])
    else:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise InvalidRequestError(
                f"{text!r} is neither a duration nor a date.", hint="Write 12h, 30d, 8w or 2027-01-31."
            ) from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC).isoformat(timespec="seconds")
    except OverflowError:
        raise InvalidRequestError(f"{text!r} is out of range.", hint="Write a year from 1 to 9998.") from None


def _find(id_or_name: str, keys: list[ApiKey], path: Path, *, lasting: bool = False) -> ApiKey:
    """Return the key with an id or a name; of several with that name, with `lasting`, the one that expires last."""
    matches = [key for key in keys if key.id == id_or_name] or [key for key in keys if key.name == id_or_name]
    if lasting and matches:
        last = max(map(_end, matches))
        matches = [key for key in matches if _end(key) == last]  # the others were rotated
    if not matches:
        raise InvalidRequestError(f"No key in {path} has the id or name {id_or_name!r}.", hint="See: rerankd keys list")
    if len(matches) > 1:
        ids = ", ".join(key.id for key in matches)
        raise InvalidRequestError(
            f"{len(matches)} keys have the name {id_or_name!r}: {ids}.", hint="Name one by its id."
        )
    return matches[0]


def _end(key: ApiKey) -> float:
    """Return the time at which a key expires, in seconds since 1970."""
    return datetime.fromisoformat(key.expires).timestamp() if key.expires else math.inf


def _file(path: Path | None) -> tuple[Path, bool]:
    """Return the key file, and True if the settings name it."""
    if path:
        return path, False
    configured = load_settings().api_keys_file
    return Path(configured or DEFAULT_FILE), bool(configured)


def _row(key: ApiKey) -> dict[str, Any]:
    fields = dataclasses.asdict(key) | {"tenant": key.tenant_id}
    return {name: value for name, value in fields.items() if name != "digest"}
