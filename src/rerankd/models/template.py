"""Templates that join a query and a document into one sequence of token ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rerankd.errors import CorruptModelError


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """Special token ids around the query and the document: `start query middle document end`.

    Example:
        >>> PairTemplate((0,), (2, 2), (2,)).special
        4
    """

    start: tuple[int, ...]
    middle: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def takes_instruction(self) -> bool:
        """True if the sequence has a place for an instruction."""
        return False

    @property
    def special(self) -> int:
        """Number of special tokens in a pair."""
        return len(self.start) + len(self.middle) + len(self.end)


Template = PairTemplate


def special_token_template(
    family: str,
    tokens: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    token_to_id: Callable[[str], int | None],
) -> PairTemplate:
    """Look up the special tokens of a model family in a tokenizer.

    Args:
        family: name of the family, for the error message.
        tokens: tokens in front of the query, between query and document, and after the document.
        token_to_id: function that looks up a token.

    Raises:
        CorruptModelError: the tokenizer lacks one of them; it belongs to another model.
    """

    def ids(names: tuple[str, ...]) -> tuple[int, ...]:
        token_ids = [token_to_id(name) for name in names]
        if None in token_ids:
            raise CorruptModelError(
                f"The tokenizer has no token {names[token_ids.index(None)]!r}, which {family} models need.",
                hint="Use tokenizer.json from the same repository as the weights.",
            )
        return tuple(token_id for token_id in token_ids if token_id is not None)

    start, middle, end = tokens
    return PairTemplate(ids(start), ids(middle), ids(end))
