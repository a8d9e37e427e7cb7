"""Replays of recorded rankings as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Column, Table

from rerankd.cli.output import cell, stdout
from rerankd.cli.trace_options import request_name

if TYPE_CHECKING:
    from rerankd.traces.replay import Replay


def print_replays(replays: list[Replay]) -> None:
    """Print a table of the changes."""
    table = Table(
        Column("request", no_wrap=True),
        "first",
        "Kendall's tau",
        "entered",
        "moved",
        "largest changes, rank then → now",
    )
    for replay in replays:
        tau = "" if replay.tau is None else f"{replay.tau:.3f}"
        furthest = ", ".join(f"{move.id or f'#{move.index}'} {move.then}→{move.now}" for move in replay.moves[:3])
        changed = replay.skipped or ("changed" if replay.top_changed else "same")
        numbers = (str(replay.entered), str(len(replay.moves)))
        table.add_row(cell(request_name(replay.trace), 40), changed, tau, *numbers, cell(furthest))
    stdout().print(table)


def models_of(replays: list[Replay]) -> str:
    """Return the models of recorded rankings, each with its version, so that two of one name are told apart."""
    return ", ".join(sorted({f"{replay.trace.model} (version {replay.trace.version[:8]})" for replay in replays}))
