"""Judgements: the meaning of feedback on a ranking. Detectors, monitoring and experiments use this module.

Each document, and the ranking as a whole, has at most one judgement: chosen or rejected.

- A click or a citation is implicit feedback: it chooses the document.
- A thumb or a grade is explicit feedback: thumbs up and grades above 0 choose, thumbs down and grade 0 reject.
- Explicit feedback outweighs implicit feedback, however often and however late somebody clicked.
- Of several explicit events the latest counts: people change their minds.
- An event on a document that the ranking does not have, or that nobody was shown, is ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rerankd.feedback.events import FeedbackEvent, Kind

EXPLICIT: tuple[Kind, ...] = ("thumb", "grade")
_RANKING = -1


def is_positive(kind: str, value: float) -> bool:
    """Return True if an event chooses its document, False if it rejects it.

    Args:
        kind: kind of the event.
        value: its value.

    Example:
        >>> is_positive("click", 1), is_positive("thumb", -1), is_positive("grade", 0), is_positive("grade", 2)
        (True, False, False, True)
    """
    return value > 0 if kind in EXPLICIT else True


class Judgements:
    """Judgements of one ranking; events are added in any order, those of the same time in the order they were stored.

    Args:
        documents: number of documents in the ranking.
        ids: ids of the documents, in the order of the request; empty if the request gave none.
        hidden: positions of documents that nobody was shown.

    Example:
        >>> judgements = Judgements(documents=2)
        >>> judgements.add(FeedbackEvent("r1", "thumb", 0, value=-1))
        >>> judgements.add(FeedbackEvent("r1", "click", 0))
        >>> judgements.add(FeedbackEvent("r1", "click", 1))
        >>> judgements.chosen, judgements.rejected
        ([1], [0])
    """

    __slots__ = ("_documents", "_hidden", "_ids", "_latest")

    def __init__(self, documents: int, ids: Sequence[str | None] = (), hidden: Collection[int] = ()) -> None:
        self._documents, self._ids, self._hidden = documents, ids, frozenset(hidden)
        self._latest: dict[int, tuple[bool, float, bool]] = {}  # (explicit, time, positive) by position

    def add(self, event: FeedbackEvent) -> None:
        """Take an event into account."""
        position = self._position(event)
        if position is None or position in self._hidden:
            return
        explicit = event.kind in EXPLICIT
        known = self._latest.get(position)
        if known is None or (explicit, event.time) >= known[:2]:
            self._latest[position] = (explicit, event.time, is_positive(event.kind, event.value))

    @property
    def chosen(self) -> list[int]:
        """Positions of the documents that are judged relevant, ascending."""
        return self._judged(positive=True)

    @property
    def rejected(self) -> list[int]:
        """Positions of the documents that are judged irrelevant, ascending."""
        return self._judged(positive=False)

    @property
    def is_ranking_rejected(self) -> bool:
        """True if the ranking as a whole is rejected."""
        return _RANKING in self._latest and not self._latest[_RANKING][2]

    @property
    def is_empty(self) -> bool:
        """True if no event counts."""
        return not self._latest

    @property
    def rejections(self) -> int:
        """Number of rejected documents, plus one if the ranking as a whole is rejected."""
        return len(self.rejected) + self.is_ranking_rejected

    def _judged(self, *, positive: bool) -> list[int]:
        judged = (position for position, latest in self._latest.items() if latest[2] is positive)
        return sorted(position for position in judged if position != _RANKING)

    def _position(self, event: FeedbackEvent) -> int | None:
        if event.index is not None:
            return event.index if event.index < self._documents else None
        if event.document_id is None:
            return _RANKING
        return list(self._ids).index(event.document_id) if event.document_id in self._ids else None


def judge(
    events: Iterable[FeedbackEvent], documents: int, ids: Sequence[str | None] = (), hidden: Collection[int] = ()
) -> Judgements:
    """Return the judgements that a ranking's feedback amounts to.

    Args:
        events: feedback on the ranking.
        documents: number of documents in the ranking.
        ids: ids of the documents, in the order of the request; empty if the request gave none.
        hidden: positions of documents that nobody was shown.
    """
    judgements = Judgements(documents, ids, hidden)
    for event in events:
        judgements.add(event)
    return judgements
