from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.jobs.bulk.checkpoint import RunCheckpoint, differences, input_fingerprint
from rerankd.jobs.bulk.reader import Offset


def test_a_journal_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert RunCheckpoint.read(path) is None
    journal = RunCheckpoint(
        {"model": "m", "top_n": None, "keep_fields": True}, Offset(5, 2, 1, "ab"), 1, 2, 3, 4, 5, 6, 7
    )
    journal.write(path)
    assert RunCheckpoint.read(path) == journal


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "fingerprint": {}}'])
def test_what_is_no_journal_is_a_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal"
    path.write_text(content)
    with pytest.raises(InvalidInputFileError, match="--restart"):
        RunCheckpoint.read(path)


def test_inputs_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"a" * 200_000)
    os.utime(path, (1, 1))
    first = input_fingerprint(path)
    assert input_fingerprint(path) == first
    for data, time, names in (
        (b"a" * 200_001, 1, ["input_size"]),
        (b"b" + b"a" * 199_999, 1, ["input_edges"]),
        (b"a" * 199_999 + b"b", 1, ["input_edges"]),
        (b"a" * 200_000, 2, ["input_time"]),
    ):
        path.write_bytes(data)
        os.utime(path, (time, time))
        assert set(names) <= set(differences(first, input_fingerprint(path)))
    with pytest.raises(InvalidInputFileError, match="cannot be read"):
        input_fingerprint(tmp_path / "gone")


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.journal"
    path.write_text(
        """{
  "format": 1,
  "fingerprint": {"input_size": 5, "input_time": 1764450000000000000, "top_n": null, "keep_fields": true},
  "position": {"offset": 5, "line": 2, "rows": 1, "digest": "ab"},
  "chunks": 1,
  "bytes": 2,
  "failed_bytes": 3,
  "pairs": 4,
  "unscored": 5,
  "tokens": 6,
  "truncated": 7,
  "finished": false
}"""
    )
    fingerprint = {"input_size": 5, "input_time": 1764450000000000000, "top_n": None, "keep_fields": True}
    assert RunCheckpoint.read(path) == RunCheckpoint(fingerprint, Offset(5, 2, 1, "ab"), 1, 2, 3, 4, 5, 6, 7)


def test_class_names_before_truncation_options_are_no_difference() -> None:
    now = {"policy": "(max_length=512, truncation='only_second')"}
    assert differences({"policy": "EarlierName(max_length=512, truncation='only_second')"}, now) == []
    assert differences({"policy": "EarlierName(max_length=256, truncation='only_second')"}, now) == ["policy"]
