"""What was written for training holds nothing of what is used to choose or to evaluate."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.mini import calibrate, contrast, data, judge
from recipes.mini import written as groups_file
from recipes.mini.evaluate import TRAPS
from rerankd.demo import load_traps
from tests.conftest import shared

pytestmark = pytest.mark.slow

WRITTEN = TRAPS.parent / "written"
WINDOW = {"zh": 12, "en": 40}  # characters; shorter ones are phrases that anybody writes
STRIDE = 6  # of windows of the packs' texts: they are long


def plain(text: str) -> str:
    return "".join(text.lower().split())


def windows(text: str, size: int, stride: int = 1) -> Iterator[str]:
    text = plain(text)
    for start in range(0, len(text) - size + 1, stride):
        yield text[start : start + size]


@pytest.fixture(scope="module")
def written() -> list[contrast.Written]:
    return contrast.read(WRITTEN / "contrast.jsonl")


@pytest.fixture(scope="module")
def groups() -> list[groups_file.WrittenGroup]:
    return groups_file.read()


@pytest.fixture(scope="module")
def texts(written: list[contrast.Written], groups: list[groups_file.WrittenGroup]) -> dict[str, list[str]]:
    """Return what was written by language."""
    collected: dict[str, list[str]] = {"zh": [], "en": []}
    for one in written:
        collected[one.language] += [one.question, one.answer, one.other]
    for group in groups:
        collected[group.language] += [group.query, group.answer, *group.others]
    for group in groups_file.translated(groups):
        collected[group.language[:2]].append(group.query)
    for group in groups_file.plain(groups):
        collected[group.language].append(group.answer)
    return collected


def parts_of(texts: dict[str, list[str]], language: str) -> dict[str, str]:
    """Return windows of what was written in a language, with the text that each is from."""
    return {window: text for text in texts[language] for window in windows(text, WINDOW[language])}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_trap_is_in_it(texts: dict[str, list[str]], language: str) -> None:
    parts = parts_of(texts, language)
    assert parts
    rows = [json.loads(line) for line in TRAPS.read_text(encoding="utf-8").splitlines()]
    trapped = [text for row in rows for text in (row["query"], *row["documents"])]
    trapped += [text for trap in load_traps() for text in (trap.query, *trap.documents)]
    common = {parts[window] for text in trapped for window in windows(text, WINDOW[language]) if window in parts}
    assert not common
    assert not {plain(text) for text in texts[language]} & {plain(text) for text in trapped}


@pytest.mark.slow
@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_text_of_a_pack_is_in_it(texts: dict[str, list[str]], language: str) -> None:
    """Neither of a validation or held-out cut nor of what is trained on."""
    parts, size = parts_of(texts, language), WINDOW[language]
    common = set()
    for name in data.PACKS:
        for file in ("corpus", "queries") if name.endswith(language) else ():
            with gzip.open(shared("data", "dev", name, f"{file}.jsonl.gz"), "rt", encoding="utf-8") as lines:
                read = (json.loads(line)["text"] for line in lines)
                common |= {parts[w] for text in read for w in windows(text, size, STRIDE) if w in parts}
    assert not common


def test_judged_groups_are_of_written_questions(written: list[contrast.Written]) -> None:
    questions = {one.question for one in written}
    groups = judge.read_groups(WRITTEN / "judged.jsonl")
    assert groups
    for group in groups:
        assert group.question in questions
        assert len(group.passages) == len(group.logits) >= 2


def test_groups_are_of_every_kind_and_some_are_kept_to_measure(groups: list[groups_file.WrittenGroup]) -> None:
    assert {(group.language, group.kind) for group in groups} == {
        (language, kind) for language in ("zh", "en") for kind in groups_file.KINDS
    }
    assert len({group.query for group in groups}) == len(groups)
    trained, held_out = groups_file.split(groups)
    assert 0.04 < len(held_out) / len(groups) < 0.12
    assert not {group.query for group in trained} & {group.query for group in held_out}


def test_translated_queries_are_of_groups_to_train_on(groups: list[groups_file.WrittenGroup]) -> None:
    trained, held_out = groups_file.split(groups)
    crossed = groups_file.translated(trained)
    assert {group.language for group in crossed} == {"zh-en", "en-zh"}
    assert not groups_file.translated(held_out)
    passages = {group.answer: group.language for group in trained}
    for group in crossed:
        assert group.language[3:] == passages[group.answer]
        assert data.is_chinese(group.query) or group.language[:2] == "en"


def test_plain_answers_have_the_words_of_their_query(groups: list[groups_file.WrittenGroup]) -> None:
    trained, held_out = groups_file.split(groups)
    assert len(groups_file.plain(trained)) > 1500
    assert len(groups_file.plain(held_out)) > 200
    shares = []
    for group in groups_file.plain(groups):
        words, answer = set(data.bm25_tokens(group.query)), set(data.bm25_tokens(group.answer))
        shares.append(len(words & answer) / len(words))
        assert group.answer not in group.others
    assert sum(shares) / len(shares) > 0.5


def test_calibration_sees_no_group_to_train_on(groups: list[groups_file.WrittenGroup]) -> None:
    trained, _ = groups_file.split(groups)
    rows = calibrate.written_pairs(groups)
    assert sum(label for *_, label in rows) == 2 * calibrate.WRITTEN
    assert not {group.query for group in trained} & {query for query, *_ in rows}


@pytest.mark.parametrize("change", [{"language": "fr"}, {"kind": "other"}, {"others": ["one"]}])
def test_a_line_that_is_no_group_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    row = {"language": "en", "kind": "meaning", "query": "q", "answer": "a", "others": ["b", "c"]}
    (tmp_path / "groups.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    with pytest.raises(ValueError, match="line 2: not a group"):
        groups_file.read(tmp_path / "groups.jsonl")
