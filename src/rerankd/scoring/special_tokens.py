"""Special tokens written in a text, such as `</s>`: they are read as text, and never separate or end it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_UNKNOWN = ("<unk>", "[UNK]")


class SpecialTokens:
    """The special tokens of a tokenizer, kept out of the texts that it reads.

    A document that contains `</s>` or `<pad>` would otherwise change the shape of the sequence: transformers reads the
    text as the token, as it does unless `split_special_tokens` is set.

    Args:
        tokenizer: the tokenizer.

    Example:
        >>> SpecialTokens(tokenizer).split_in("a </s> b")  # doctest: +SKIP
        'a < /s> b'
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokens = {id_: token for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        names = [re.escape(token.content) for token in tokens.values() if len(token.content) > 1]
        self._pattern = re.compile("|".join(sorted(names, key=len, reverse=True))) if names else None
        self._ids = frozenset(id_ for id_, token in tokens.items() if token.content not in _UNKNOWN)

    def split_in(self, text: str) -> str:
        """Return a text with a space behind the first character of each special token."""
        if self._pattern is None or self._pattern.search(text) is None:
            return text
        return self._pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def removed_from(self, ids: list[int]) -> list[int]:
        """Return ids without special tokens, which the tokenizer may still make of other spellings."""
        return ids if self._ids.isdisjoint(ids) else [id_ for id_ in ids if id_ not in self._ids]
