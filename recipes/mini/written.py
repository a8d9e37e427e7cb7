"""Judged groups that were written for training: a query, an answer, and passages that do not answer.

`written/groups.jsonl` holds them by language and kind. "meaning": the answer shares no content word with the query, and
others repeat its words in another sense or relation. "aspect": all passages are on the subject, one gives what is asked
for. "lexical": the answer has the query's names, numbers and terms. "keyword": a few keywords, one of them ambiguous.
A large language model wrote and judged them; they were not checked by hand. No text of a pack and no trap is in it
(`tests/unit/recipes/test_written.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .data import unit_hash

GROUPS = Path(__file__).parent / "written" / "groups.jsonl"
KINDS = ("meaning", "aspect", "lexical", "keyword")
QUERIES = Path(__file__).parent / "written" / "queries.jsonl"
PLAIN = Path(__file__).parent / "written" / "plain.jsonl"
CROSSED = {"zh": "en-zh", "en": "zh-en"}  # query's and passages' language
HELD_OUT = 0.08  # share of groups that measure and are never trained on


@dataclass(frozen=True, slots=True)
class WrittenGroup:
    """A query with judged passages.

    Attributes:
        language: `zh` or `en`; of a translated query its language and that of the passages, like `zh-en`.
        kind: one of `KINDS`, or `plain`.
        query: the query.
        answer: passage that answers it.
        others: passages that do not.
    """

    language: str
    kind: str
    query: str
    answer: str
    others: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """True if the group measures; decided by a hash of its query."""
        return unit_hash(f"written:{self.query}") < HELD_OUT


def read(path: Path = GROUPS) -> list[WrittenGroup]:
    """Read groups.

    Raises:
        ValueError: a line is not a group.
    """
    groups = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        group = WrittenGroup(row["language"], row["kind"], row["query"], row["answer"], tuple(row["others"]))
        if group.language not in ("zh", "en") or group.kind not in KINDS or len(group.others) < 2:
            raise ValueError(f"{path}, line {number}: not a group of a known language and kind with two others.")
        groups.append(group)
    return groups


def translated(groups: Sequence[WrittenGroup], path: Path = QUERIES) -> list[WrittenGroup]:
    """Return groups whose query is in the other language than their passages, for queries with a translation.

    Pass the groups to train on only: what `held_out` says is decided by the original query.

    Args:
        groups: groups in one language.
        path: JSON Lines of `query` and `translation`.
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    translations = {row["query"]: row["translation"] for row in rows}
    return [
        replace(group, language=CROSSED[group.language], query=translations[group.query])
        for group in groups
        if group.query in translations
    ]


def plain(groups: Sequence[WrittenGroup], path: Path = PLAIN) -> list[WrittenGroup]:
    """Return groups whose answer has the query's own words, for queries that have such an answer too.

    The others stay: some of them have these words as well and do not answer, so that words decide nothing.

    Args:
        groups: groups in one language.
        path: JSON Lines of `query` and `plain`, the answer.
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers = {row["query"]: row["plain"] for row in rows}
    return [replace(group, kind="plain", answer=answers[group.query]) for group in groups if group.query in answers]


def split(groups: Sequence[WrittenGroup]) -> tuple[list[WrittenGroup], list[WrittenGroup]]:
    """Return the groups to train on, and those that measure."""
    return [group for group in groups if not group.held_out], [group for group in groups if group.held_out]
