"""`rerankd keys`: add, list, revoke."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd.cli import options
from rerankd.cli.output import cell, say, stdout, wants_json, write_rows
from rerankd.errors import InvalidRequestError
from rerankd.server.auth.key_file import read_keys, write_keys
from rerankd.server.auth.keys import LIMITS, ApiKey, new_key
from rerankd.settings import FILE_NAME, load_settings

DEFAULT_FILE = "rerankd-keys.json"

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
File = Annotated[
    Path | None,
    typer.Option(help=f"File of keys.  [default: setting api_keys_file, else {DEFAULT_FILE}]", dir_okay=False),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Limit.  [default: none]")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the user or team.")],
    admin: Annotated[bool, typer.Option("--admin", help="Allow administration of the service.")] = False,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    requests_per_day: Limit = None,
    tokens_per_day: Limit = None,
    file: File = None,
    as_json: options.Json = False,
) -> None:
    """Create a key and print it. It is shown only once: the file stores its hash."""
    path, configured = _file(file)
    kept = read_keys(path) if path.exists() else []
    clear, key = new_key(
        name,
        admin=admin,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_day=tokens_per_day,
    )
    write_keys(path, [*kept, key])
    if wants_json(as_json):
        write_rows([{"key": clear} | _row(key)])
    else:
        stdout().print(clear, markup=False, highlight=False, soft_wrap=True)
    say(f"Key {key.id} ({key.name}) is in {path}. Store the key now: it is not shown again.")
    if not configured:
        full = str(path.resolve())
        say(f"To use the file, add this line to {FILE_NAME}: api_keys_file = {json.dumps(full, ensure_ascii=False)}")
        say(f"or set the environment variable RERANKD_API_KEYS_FILE={shlex.quote(full)}")


@app.command("list")
def list_keys(file: File = None, as_json: options.Json = False) -> None:
    """List the keys in the file, without their hashes."""
    path, _ = _file(file)
    keys = read_keys(path)
    if wants_json(as_json):
        write_rows(_row(key) for key in keys)
        return
    table = Table("id", "name", "admin", *(limit.replace("_per_", "/").replace("minute", "min") for limit in LIMITS))
    table.add_column("created")
    for key in keys:
        limits = (str(getattr(key, limit) or "") for limit in LIMITS)
        table.add_row(cell(key.id), cell(key.name), "yes" if key.admin else "", *limits, cell(key.created))
    stdout().print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID_OR_NAME", help="Id or name of the key.")],
    file: File = None,
    as_json: options.Json = False,
) -> None:
    """Remove a key from the file; a running service rejects it within a second."""
    path, _ = _file(file)
    keys = read_keys(path)
    revoked = _find(key, keys, path)
    write_keys(path, [other for other in keys if other.id != revoked.id])
    if wants_json(as_json):
        write_rows([_row(revoked) | {"revoked": True}])
    say(f"Key {revoked.id} ({revoked.name}) is revoked.")


def _find(id_or_name: str, keys: list[ApiKey], path: Path) -> ApiKey:
    matches = [key for key in keys if key.id == id_or_name] or [key for key in keys if key.name == id_or_name]
    if not matches:
        raise InvalidRequestError(f"No key in {path} has the id or name {id_or_name!r}.", hint="See: rerankd keys list")
    if len(matches) > 1:
        ids = ", ".join(key.id for key in matches)
        raise InvalidRequestError(
            f"{len(matches)} keys have the name {id_or_name!r}: {ids}.", hint="Revoke one by its id."
        )
    return matches[0]


def _file(path: Path | None) -> tuple[Path, bool]:
    """Return the key file, and True if the settings name it."""
    if path:
        return path, False
    configured = load_settings().api_keys_file
    return Path(configured or DEFAULT_FILE), bool(configured)


def _row(key: ApiKey) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(key).items() if name != "digest"}
