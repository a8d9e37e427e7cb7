from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.training.examples import (
    MISSED,
    Example,
    clean,
    data_hash,
    normalize,
    read_examples,
    split,
)
from tests.unit.evaluation.folders import write_folder
from tests.unit.training.material import animals


def lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def test_lines_are_read(tmp_path: Path) -> None:
    row = {"query": "熊猫?", "pos": ["竹子"], "neg": ["车"], "pos_scores": [5], "neg_scores": [-1.5], "time": 7}
    examples = read_examples(lines(tmp_path / "a.jsonl", row, {"query": "q", "pos": ["p"]}))
    assert examples[0] == Example("熊猫?", ("竹子",), ("车",), (5.0,), (-1.5,), 7.0, "a.jsonl")
    assert examples[1] == Example("q", ("p",), source="a.jsonl")


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        ({"pos": ["a"]}, "line 1: there is no query"),
        ({"query": 5, "pos": ["a"]}, "there is no query"),
        ({"query": "q", "pos": "a"}, "pos is not a list of texts"),
        ({"query": "q", "pos": ["a"], "neg": [None]}, "neg is not a list of texts"),
        ({"query": "q", "pos": ["a"] * 1001}, "pos is too large"),
        ({"query": "q", "pos": ["a"], "pos_scores": [1, 2]}, "pos_scores does not have one number per text"),
        ({"query": "q", "pos": ["a"], "pos_scores": [float("nan")]}, "pos_scores does not have one number"),
        ({"query": "q", "pos": ["a"], "time": "monday"}, "time is not a number"),
        (["q"], "a list"),
    ],
)
def test_lines_that_are_refused(tmp_path: Path, row: object, counts: str) -> None:
    with pytest.raises(InvalidInputFileError, match=counts):
        read_examples(lines(tmp_path / "a.jsonl", row))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match="contains no examples"):
        read_examples(lines(tmp_path / "a.jsonl"))


def test_a_beir_folder_is_read(tmp_path: Path) -> None:
    examples = {one.query: one for one in read_examples(write_folder(tmp_path / "zoo"))}
    assert examples["熊猫吃什么?"].positives == ("熊猫 大熊猫主要吃竹子。",)
    assert examples["熊猫吃什么?"].negatives == ()
    assert examples["熊猫吃什么?"].unjudged == ("熊猫直播是一个网站。",)
    assert len(examples["how high is Everest?"].positives) == 2
    assert examples["how high is Everest?"].unjudged == ("Paris is the capital of France.",)
    assert examples["how high is Everest?"].source == "zoo"


def test_what_was_judged_irrelevant_is_apart_from_what_nobody_judged(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "zoo")
    with (folder / "qrels.tsv").open("a", encoding="utf-8") as file:
        file.write("\nq2\td1\t0\n")
    examples = {one.query: one for one in read_examples(folder)}
    assert examples["capital of France"].negatives == ("熊猫 大熊猫主要吃竹子。",)
    assert len(examples["capital of France"].unjudged) == 2


TEXTS = st.sampled_from(["a", "A ", "b", "ｂ", "c", "", " ", "d e", "d  e"])
EXAMPLES = st.lists(
    st.builds(
        Example,
        TEXTS,
        st.lists(TEXTS, max_size=3).map(tuple),
        st.lists(TEXTS, max_size=4).map(tuple),
        time=st.none() | st.floats(0, 9),
        unjudged=st.lists(TEXTS, max_size=3).map(tuple),
        missed=st.lists(TEXTS, max_size=2).map(tuple),
    ),
    max_size=6,
)


@given(EXAMPLES, st.booleans())
def test_cleaning_is_done_once_and_leaves_no_contradiction(examples: list[Example], scored: bool) -> None:
    if scored:
        examples = [
            replace(e, positive_scores=(1.0,) * len(e.positives), negative_scores=(0.0,) * len(e.negatives))
            for e in examples
        ]
    kept, counts = clean(examples)
    assert clean(kept)[0] == kept
    assert clean(kept)[1].dropped == {}
    assert counts.kept == len(kept)
    assert len({one.key for one in kept}) == len(kept)
    missed = {(one.key, normalize(text)) for one in examples for text in one.missed}
    for one in kept:
        assert not one.missed
        assert missed.isdisjoint((one.key, normalize(text)) for text in (*one.negatives, *one.unjudged))
        sides = [{normalize(text) for text in side} for side in (one.positives, one.negatives)]
        assert one.positives
        assert "" not in sides[0] | sides[1]
        assert sides[0].isdisjoint(sides[1])
        unjudged = {normalize(text) for text in one.unjudged}
        assert len(unjudged) == len(one.unjudged)
        assert unjudged.isdisjoint({"", *sides[0], *sides[1]})
        assert (len(sides[0]), len(sides[1])) == (len(one.positives), len(one.negatives))
        assert len(one.positive_scores) in (0, len(one.positives))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8), st.integers(0, 9)), min_size=4, max_size=40))
def test_no_query_and_no_answer_is_on_both_sides(made: list[tuple[int, int, int]]) -> None:
    examples = [Example(f"q{query}", (f"a{answer}",), ("n",), time=float(time)) for query, answer, time in made]
    try:
        training, validation = split(examples, 0.3)
    except InvalidRequestError:
        return
    assert training
    assert validation
    assert {one.key for one in training}.isdisjoint(one.key for one in validation)
    answers = [{normalize(text) for one in side for text in one.positives} for side in (training, validation)]
    assert answers[0].isdisjoint(answers[1])


def test_validation_is_the_latest_where_times_are_known() -> None:
    examples = [Example(f"q{n}", (f"a{n}",), time=float(n)) for n in range(10)]
    training, validation = split(examples, 0.2)
    assert [one.query for one in validation] == ["q9", "q8"]
    assert len(training) == 8


def test_the_same_queries_validate_however_examples_are_ordered() -> None:
    examples = animals()
    first, second = split(examples, 0.25)[1], split(examples[::-1], 0.25)[1]
    assert len(first) == 3
    assert first == second


def test_too_few_to_divide() -> None:
    with pytest.raises(InvalidRequestError, match=r"At least 4 examples are needed; 3 were given\."):
        split(animals(3), 0.1)
    with pytest.raises(InvalidRequestError, match="1 was given"):
        split(animals(1), 0.1)
    with pytest.raises(InvalidRequestError, match="share their positives"):
        split([Example(f"q{n}", ("same",)) for n in range(6)], 0.2)


def test_the_hash_is_of_what_is_learned() -> None:
    examples = animals(5)
    assert data_hash(examples) == data_hash(examples[::-1])
    assert data_hash(examples) != data_hash(examples[:4])
    scored = [replace(one, positive_scores=(2.0,), negative_scores=(1.0, 0.0, 0.0)) for one in examples]
    assert data_hash(scored) != data_hash(examples)


def test_an_answer_that_the_first_stage_missed_is_not_learned_from(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    texts = {"far": "beyond", "near": "close", "found": "here"}
    rows = [f'{{"_id": "{name}", "text": "{text}"}}' for name, text in texts.items()]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "one"}\n{"_id": "p", "text": "other"}\n')
    judged = "q\tfar\t1\nq\tfound\t1\np\tfar\t1\n"
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nanother\tnear\t1\n")
    (folder / "candidates.trec").write_text("q Q0 near 1 2.0 x\nq Q0 found 2 1.0 x\np Q0 near 1 2.0 x\n")
    examples = {one.query: one for one in read_examples(folder)}
    assert (examples["one"].positives, examples["one"].missed) == (("here",), ("beyond",))
    assert (examples["other"].positives, examples["other"].missed) == ((), ("beyond",))
    kept, counts = clean(examples.values())
    assert kept == [Example("one", ("here",), source="set", unjudged=("close",))]
    assert counts.dropped == {MISSED: 2, "queries without an answer": 1}


def test_a_missed_answer_is_no_negative() -> None:
    [one], counts = clean([Example("q", ("a",), ("b", "c"), unjudged=("B", "d"), missed=("b",))])
    assert (one.negatives, one.unjudged) == (("c",), ("d",))
    assert counts.dropped == {"contradicting negatives": 1, MISSED: 1}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"query": "q", "positive": "p", "negative": "n"},
            r"the key 'positive' is not read. Write \"pos\": \[",
        ),
        ({"anchor": "q", "positive": "p"}, r"the key 'anchor' is not read. Write \"query\""),
        ({"query": "q", "positives": ["p"]}, "the key 'positives' is not read"),
        ({"query": "q", "pos": ["p"], "negative": "n"}, r"the key 'negative' is not read. Write \"neg\": \[...\]"),
        ({"query": "q", "pos": ["p"], "negative_1": "n", "negative_2": "m"}, "the key 'negative_1' is not read"),
        ({"query": "q", "positive_passages": [{"text": "p"}]}, "the key 'positive_passages' is not read"),
        ({"query": "q", "docs": ["p"]}, r"there is no 'pos' \(keys: 'query', 'docs'\)"),
    ],
)
def test_keys_of_other_formats_are_named(row: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match=f"line 1: {sentence}"):
        read_examples(lines(tmp_path / "a.jsonl", row))
