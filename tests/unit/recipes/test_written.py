"""What the language model wrote for training holds nothing of what is used to choose or to evaluate."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest

from recipes.mini import contrast, data, judge
from recipes.mini.evaluate import TRAPS
from rerankd.demo import load_traps
from tests.conftest import shared

WRITTEN = TRAPS.parent / "written"
WINDOW = {"zh": 12, "en": 40}  # characters; shorter ones are phrases that anybody writes
STRIDE = 6  # of windows of the packs' texts: they are long


def windows(text: str, size: int, stride: int = 1) -> Iterator[str]:
    plain = "".join(text.lower().split())
    for start in range(0, len(plain) - size + 1, stride):
        yield plain[start : start + size]


@pytest.fixture(scope="module")
def written() -> list[contrast.Written]:
    return contrast.read(WRITTEN / "contrast.jsonl")


def parts_of(written: list[contrast.Written], language: str) -> dict[str, str]:
    """Return windows of what was written in a language, with the text that each is from."""
    size = WINDOW[language]
    texts = [text for one in written if one.language == language for text in (one.question, one.answer, one.other)]
    return {window: text for text in texts for window in windows(text, size)}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_trap_is_in_it(written: list[contrast.Written], language: str) -> None:
    parts = parts_of(written, language)
    assert parts
    rows = [json.loads(line) for line in TRAPS.read_text(encoding="utf-8").splitlines()]
    texts = [text for row in rows for text in (row["query"], *row["documents"])]
    texts += [text for trap in load_traps() for text in (trap.query, *trap.documents)]
    common = {parts[window] for text in texts for window in windows(text, WINDOW[language]) if window in parts}
    assert not common
    questions = {one.question for one in written}
    assert not questions & {row["query"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_text_of_a_pack_is_in_it(written: list[contrast.Written], language: str) -> None:
    """Neither of a validation or held-out cut nor of what is trained on."""
    parts, size = parts_of(written, language), WINDOW[language]
    common = set()
    for name in data.PACKS:
        for file in ("corpus", "queries") if name.endswith(language) else ():
            with gzip.open(shared("data", "dev", name, f"{file}.jsonl.gz"), "rt", encoding="utf-8") as lines:
                texts = (json.loads(line)["text"] for line in lines)
                common |= {parts[w] for text in texts for w in windows(text, size, STRIDE) if w in parts}
    assert not common


def test_judged_groups_are_of_written_questions(written: list[contrast.Written]) -> None:
    questions = {one.question for one in written}
    groups = judge.read_groups(WRITTEN / "judged.jsonl")
    assert groups
    for group in groups:
        assert group.question in questions
        assert len(group.passages) == len(group.logits) >= 2
