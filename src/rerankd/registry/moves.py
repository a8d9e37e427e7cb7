"""Moves of the champion: carried out in an order in which an interruption does no harm, and written to the history."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from rerankd._common.user import current_user
from rerankd.errors import ConflictError
from rerankd.models.reference import CHAMPION
from rerankd.registry.store import Store
from rerankd.registry.version import MOVE_TAG, PREVIOUS, AliasMove


def apply_move(store: Store, move: AliasMove, previous: int | None) -> AliasMove:
    """Write the move, point the aliases, and mark the move as done. The champion is pointed last, in one step.

    Args:
        store: client of MLflow.
        move: move to carry out.
        previous: version for the alias `previous`; None to leave that alias as it is.

    Raises:
        ConflictError: somebody else moved the champion at the same time.
        UnavailableError: MLflow cannot be reached.
    """
    key = f"{MOVE_TAG}{time.time_ns():020d}"
    store.tag_model(move.name, key, move.record())
    if previous is not None:
        store.set_alias(move.name, PREVIOUS, previous)
    store.set_alias(move.name, CHAMPION, move.after)
    if store.aliases(move.name).get(CHAMPION) != move.after:
        raise ConflictError(
            f"Somebody else moved the champion of {move.name} at the same time.", hint="See: rerankd models history"
        )
    completed = replace(move, done=True)
    store.tag_model(move.name, key, completed.record())
    return completed


def read_moves(tags: Mapping[str, str]) -> list[AliasMove]:
    """Return the moves among the tags of a registered model, newest first."""
    moves = []
    for key, text in sorted(tags.items(), reverse=True):
        with contextlib.suppress(ValueError, TypeError):  # a tag of somebody else
            if key.startswith(MOVE_TAG):
                moves.append(AliasMove.from_record(text))
    return moves


def unchanged_move(
    action: Literal["promote", "rollback"], name: str, version: int, reason: str, user: str | None
) -> AliasMove:
    """Return the move of a decision that is carried out already: nothing is written."""
    user = user or current_user()
    return AliasMove(action, name, version, version, user, time.time(), reason, done=True, changed=False)


def check_seen(name: str, seen: int | None, champion: int | None) -> None:
    """Refuse a decision of somebody who looked at another champion.

    Args:
        name: name of the registered model.
        seen: number of the champion that the person looked at, 0 for none; None to permit any.
        champion: number of the present champion.

    Raises:
        ConflictError: the champion was moved since.
    """
    if seen is not None and seen != (champion or 0):
        now = f"{name} {champion}" if champion else "no version"
        raise ConflictError(
            f"The champion of {name} was moved since you looked: it is {now} now.",
            hint="Look at its history, and decide again.",
        )
