from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from rerankd.pipeline.applied_rules import INLINE_CHARACTERS, apply_rules
from rerankd.rules.rule_file import parse_rules
from rerankd.rules.rule_set import RuleSet
from rerankd.types import Adjustment, Document, RerankRequest


class ThreadOf(RuleSet):
    """Rules that note the thread in which they read the documents."""

    thread: threading.Thread | None = None

    def adjustments(
        self, query: str, documents: Sequence[Document], tenant: str = "", now: float | None = None
    ) -> list[Adjustment]:
        self.thread = threading.current_thread()
        return super().adjustments(query, documents, tenant, now)


@pytest.mark.parametrize(
    ("query", "documents", "inline"),
    [
        ("q", ["x"], True),
        ("q", ["x" * INLINE_CHARACTERS], False),
        ("q" * INLINE_CHARACTERS, ["x"], False),
        ("q", ["x" * 100] * (INLINE_CHARACTERS // 100), False),
    ],
)
async def test_long_texts_are_read_off_the_event_loop(query: str, documents: list[str], inline: bool) -> None:
    rules = ThreadOf(parse_rules(b"rules: [{name: r, documents: {terms: [x]}, boost: 1}]").rules)
    applied = await apply_rules(rules, RerankRequest(query, [Document(text) for text in documents]))
    assert len(applied.adjustments) == len(documents)
    assert (rules.thread is threading.current_thread()) is inline
