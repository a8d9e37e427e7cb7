"""`rerankd models register | promote | rollback | history | diff`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd._common.plural import counted
from rerankd.cli import options
from rerankd.cli.output import cell, json_row, stderr, stdout, wants_json, write_rows
from rerankd.errors import InvalidRequestError
from rerankd.registry.evidence import read_metrics
from rerankd.registry.registry import Registry
from rerankd.registry.version import AliasMove, ModelVersion
from rerankd.settings import load_settings
from rerankd.wiring.registry import open_registry

Name = Annotated[str, typer.Argument(help="Name of the registered model.")]
Reason = Annotated[str, typer.Option(help="Reason, stored with the decision.")]
Where = Annotated[
    str | None,
    typer.Option("--registry", help="MLflow registry: sqlite:///FILE or http(s)://...  [default: setting registry]"),
]


def register(
    model: Annotated[str, typer.Argument(metavar="FOLDER", help="Model folder, or org/name[@revision].")],
    name: Annotated[str, typer.Option("--name", help="Name to register the model under.")],
    metrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Metrics as written by `rerankd eval --json`.")
    ] = None,
    gate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Decision record of `rerankd gate` for this model.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Training data, stored as a hash; repeatable.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Tag of your own; repeatable.")] = None,
    alias: Annotated[str | None, typer.Option(help="Alias for the new version, such as challenger.")] = None,
    parent: Annotated[
        int | None, typer.Option(min=1, help="Version it was trained from.  [default: the champion]")
    ] = None,
    allow_unverified: Annotated[
        bool,
        typer.Option("--allow-unverified", help="Accept a model whose verification failed, was waived or is missing."),
    ] = False,
    registry: Where = None,
    as_json: options.Json = False,
) -> None:
    """Register a model with its metrics and gate record. Registering the same files again returns the same version."""
    settings = load_settings(registry=registry)
    version = open_registry(settings).register(
        model,
        name,
        metrics=read_metrics(metrics) if metrics else None,
        gate=gate,
        data=data or (),
        tags=_tags(tag or []),
        alias=alias,
        parent=parent,
        allow_unverified=allow_unverified,
        cache_dir=settings.cache_dir,
    )
    if wants_json(as_json):
        write_rows([asdict(version)])
        return
    called = f", {', '.join(version.aliases)}" if version.aliases else ""
    stdout().print(
        f"{version}{called}: {counted(len(version.files), 'file')}, {version.size / 1e6:.1f} MB.", highlight=False
    )
    if not version.verified:
        stderr().print(
            "It is not verified: no alias can point to it unless it is promoted with --force.", style="yellow"
        )


def promote(
    name: Name,
    target: Annotated[
        str, typer.Argument(metavar="[VERSION|ALIAS]", help="Version or alias to promote.")
    ] = "challenger",
    reason: Reason = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="Promote even if the gate refused or the model is not verified; needs --reason."),
    ] = False,
    registry: Where = None,
    as_json: options.Json = False,
) -> None:
    """Make a version the champion; exit code 9 without a passed gate. Instances that follow the champion swap to it."""
    move = _open(registry).promote(name, target, reason, force=force)
    _print_move(move, as_json, f"{name} {move.after} is already the champion.")


def rollback(
    name: Name,
    reason: Reason = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Roll back even if the previous version's files cannot be verified; needs --reason."
        ),
    ] = False,
    registry: Where = None,
    as_json: options.Json = False,
) -> None:
    """Make the previous version the champion again. Repeating it has no effect."""
    move = _open(registry).rollback(name, reason, force=force)
    _print_move(move, as_json, f"{name} is already rolled back to {move.after}.")


def history(name: Name, registry: Where = None, as_json: options.Json = False) -> None:
    """List decisions and versions of a model, newest first."""
    record = _open(registry).history(name)
    if wants_json(as_json):
        events = [("decision", move.when, json_row(move, {"user": "who"})) for move in record.moves]
        events += [("version", version.created, asdict(version)) for version in record.versions]
        write_rows(
            {"kind": kind} | row for kind, _, row in sorted(events, key=lambda version: version[1], reverse=True)
        )
        return
    table = Table("when", "decision", "from", "to", "gate", "who", "why")
    for move in record.moves:
        action = move.action + ("" if move.done else " (started)") + (" --force" if move.forced else "")
        before = str(move.before or "")
        table.add_row(_time(move.when), action, before, str(move.after), move.gate, cell(move.user), cell(move.reason))
    versions = Table("version", "registered", "aliases", "parent", "verified", "gate", "size")
    for version in record.versions:
        versions.add_row(
            str(version.version),
            _time(version.created),
            cell(", ".join(version.aliases)),
            str(version.parent or ""),
            "yes" if version.verified else "no",
            _gate(version),
            f"{version.size / 1e6:.1f} MB",
        )
    stdout().print(table, versions)


def diff(
    name: Name,
    a: Annotated[str, typer.Argument(help="Version or alias.")],
    b: Annotated[str, typer.Argument(help="Another version or alias.")],
    registry: Where = None,
    as_json: options.Json = False,
) -> None:
    """Compare two versions: parameters, metrics, calibration, data, files, parent."""
    differences = _open(registry).diff(name, a, b)
    if wants_json(as_json):
        write_rows(asdict(difference) for difference in differences)
        return
    table = Table("", a, b, "")
    for difference in differences:
        change = f"{difference.b - difference.a:+g}" if _number(difference.a) and _number(difference.b) else ""
        table.add_row(cell(difference.field), _shown(difference.a), _shown(difference.b), change)
    stdout().print(table if differences else f"{a} and {b} are the same version.")


def _open(uri: str | None) -> Registry:
    return open_registry(load_settings(registry=uri))


def _print_move(move: AliasMove, as_json: bool, unchanged: str) -> None:
    if wants_json(as_json):
        write_rows([json_row(move, {"user": "who"})])
        return
    if not move.changed:
        stdout().print(unchanged, highlight=False)
        return
    before = f"{move.before} -> " if move.before else ""
    stdout().print(f"{move.action}: {move.name} {before}{move.after} is champion.", highlight=False)


def _tags(pairs: list[str]) -> Mapping[str, str]:
    parts = [pair.partition("=") for pair in pairs]
    if not all(key.strip() and mark for key, mark, _ in parts):
        raise InvalidRequestError("A tag has no name or no value.", hint="Write --tag KEY=VALUE.")
    return {key.strip(): value.strip() for key, _, value in parts}


def _gate(version: ModelVersion) -> str:
    if not version.gate:
        return "missing"
    return "passed" if version.gate.get("passed") is True else "refused"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> Any:
    return "" if value is None else cell(str(value), 60)
