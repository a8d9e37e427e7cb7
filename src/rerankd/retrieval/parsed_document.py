"""The result of parsing: a document, or a row of a table, as blocks of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rerankd.retrieval.splitting import Block

RowFault = Literal["", "no answer", "no question"]


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The text of a file, or of a row of a table.

    Attributes:
        blocks: blocks of text in reading order.
        id: id of a row; empty for none.
        metadata: other columns of a row, or the title and the front matter of a document.
        line: line of the file on which a row begins, from 1; 0 in documents, whose blocks know their lines.
        lost_characters: number of characters that could not be decoded; each stands as U+FFFD in the text.
        notes: what was left out or assumed, one sentence each: pages without text, a delimiter that was detected.
        fault: what a row of questions and answers lacks; one without an answer has no blocks.
    """

    blocks: Iterable[Block]
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    line: int = 0
    lost_characters: int = 0
    notes: tuple[str, ...] = ()
    fault: RowFault = ""
