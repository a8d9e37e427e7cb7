"""Interleaving of two rankings, and credit for clicks: team draft (Radlinski, Kurup and Joachims 2008)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interleaved:
    """A list interleaved from two rankings.

    Attributes:
        order: documents, best first.
        teams: the ranking that picked each document, 0 or 1; None in the common beginning, which favours neither.
    """

    order: tuple[int, ...]
    teams: tuple[int | None, ...]

    def credit(self, liked: Iterable[int]) -> tuple[int, int]:
        """Count the liked documents that each team picked.

        Args:
            liked: documents with a click or another positive signal; each counts once.

        Example:
            >>> Interleaved((4, 2, 7), (None, 0, 1)).credit([4, 7])
            (0, 1)
        """
        team_of = dict(zip(self.order, self.teams, strict=True))
        teams = [team_of.get(document) for document in set(liked)]
        return teams.count(0), teams.count(1)


def seed_of(experiment: str, request: str) -> int:
    """Return the seed of a request's coin flips, so that its list can be drawn again from a trace.

    Args:
        experiment: name of the experiment.
        request: id of the request.
    """
    return int.from_bytes(hashlib.sha256(f"{experiment}\0{request}".encode()).digest()[:8], "big")


def interleave(first: Sequence[int], second: Sequence[int], seed: int, top_n: int | None = None) -> Interleaved:
    """Interleave two rankings: the team with fewer picks adds its best document that is not there yet.

    A coin flip decides if both teams have equally many picks.

    Args:
        first: documents of team 0, best first.
        second: documents of team 1.
        seed: seed of the coin flips.
        top_n: length of the list at most; None for all documents.

    Example:
        >>> interleave([1, 2, 3], [1, 3, 2], 7).teams[0] is None
        True
    """
    common = 0
    for document, other in zip(first, second, strict=False):
        if document != other:
            break
        common += 1
    limit = len(set(first) | set(second)) if top_n is None else top_n
    order, teams = list(first[:common])[:limit], list[int | None]([None] * min(common, limit))
    taken, coins, picks = set(order), random.Random(seed), [0, 0]  # noqa: S311  reproducible, not secret
    rankings, positions = (first, second), [common, common]
    while len(order) < limit:
        for side, ranking in enumerate(rankings):
            while positions[side] < len(ranking) and ranking[positions[side]] in taken:
                positions[side] += 1
        remaining = [position < len(ranking) for position, ranking in zip(positions, rankings, strict=True)]
        if not any(remaining):
            break
        team = coins.randrange(2) if picks[0] == picks[1] else int(picks[1] < picks[0])
        if not remaining[team]:
            team = 1 - team
        document = rankings[team][positions[team]]
        order.append(document)
        teams.append(team)
        taken.add(document)
        picks[team] += 1
    return Interleaved(tuple(order), tuple(teams))
