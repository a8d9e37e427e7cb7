"""Two rankings shown as one, and whose documents were liked: team draft (Radlinski, Kurup and Joachims 2008)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interleaved:
    """One list made of two.

    Attributes:
        order: documents, best first.
        teams: 0 or 1 for the ranking that put each there; None in the common beginning, which tells nothing.
    """

    order: tuple[int, ...]
    teams: tuple[int | None, ...]

    def credit(self, liked: Iterable[int]) -> tuple[int, int]:
        """How many liked documents each team put there.

        Example:
            >>> Interleaved((4, 2, 7), (None, 0, 1)).credit([4, 7])
            (0, 1)
        """
        team_of = dict(zip(self.order, self.teams, strict=True))
        owners = [team_of.get(document) for document in set(liked)]
        return owners.count(0), owners.count(1)


def seed_of(experiment: str, request: str) -> int:
    """The seed of a request's coins: whoever knows both can draw the list again."""
    return int.from_bytes(hashlib.sha256(f"{experiment}\0{request}".encode()).digest()[:8], "big")


def interleave(first: Sequence[int], second: Sequence[int], seed: int, top_n: int | None = None) -> Interleaved:
    """Make one list: the team with fewer picks appends its best document that is not there yet, a coin decides ties.

    Args:
        first: documents of team 0, best first.
        second: documents of team 1.
        seed: of the coins.
        top_n: length of the list at most.

    Example:
        >>> interleave([1, 2, 3], [1, 3, 2], 7).teams[0] is None
        True
    """
    common = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        common += 1
    limit = len(set(first) | set(second)) if top_n is None else top_n
    order, teams = list(first[:common])[:limit], list[int | None]([None] * min(common, limit))
    taken, coins, picks = set(order), random.Random(seed), [0, 0]  # noqa: S311  a coin that can be thrown again
    rankings, next_places = (first, second), [common, common]
    while len(order) < limit:
        for side, ranking in enumerate(rankings):
            while next_places[side] < len(ranking) and ranking[next_places[side]] in taken:
                next_places[side] += 1
        left = [place < len(ranking) for place, ranking in zip(next_places, rankings, strict=True)]
        if not any(left):
            break
        team = coins.randrange(2) if picks[0] == picks[1] else int(picks[1] < picks[0])
        if not left[team]:
            team = 1 - team
        document = rankings[team][next_places[team]]
        order.append(document)
        teams.append(team)
        taken.add(document)
        picks[team] += 1
    return Interleaved(tuple(order), tuple(teams))
