from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.registry.evidence import data_hashes, git_state, read_metrics


def test_metrics_are_named_by_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "eval.json"
    path.write_text(json.dumps({"nDCG@10": 0.5, "domain": {"R@5": 1, "note": "x", "bad": True}, "list": [1, 2]}))
    assert read_metrics(path) == {"nDCG@10": 0.5, "domain/R@5": 1.0, "list/0": 1.0, "list/1": 2.0}
    rows: list[dict[str, Any]] = [
        {"dataset": "med", "system": "tiny", "nDCG@10": 0.5},
        {"dataset": "law", "system": "tiny", "nDCG@10": 0.25},
    ]
    rows[0]["comparison"] = {"worst": [{"query": "q", "delta": -1.0}], "p": 0.5}
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert read_metrics(path) == {
        "med/tiny/nDCG@10": 0.5,
        "law/tiny/nDCG@10": 0.25,
        "med/tiny/comparison/p": 0.5,
    }


@pytest.mark.parametrize("separator", "\u2028\u2029\x85")
def test_lines_end_at_line_feeds_alone(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "eval.jsonl"
    rows = [{"dataset": f"m{separator}ed", "nDCG@10": 0.5}, {"dataset": "law", "nDCG@10": 0.25}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text, encoding="utf-8-sig")
    assert list(read_metrics(path).values()) == [0.5, 0.25]


@pytest.mark.parametrize("text", ["", "no", "{}", '{"a": NaN}', json.dumps(list(range(501)))])
def test_a_file_without_numbers_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "eval.json"
    path.write_text(text)
    with pytest.raises(InvalidInputFileError):
        read_metrics(path)
    with pytest.raises(InvalidInputFileError):
        read_metrics(tmp_path / "none")


def test_data_is_told_by_names_and_content(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "data", tmp_path / "b" / "data"
    for folder in (one, other):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "x.jsonl").write_text("1")
    hashes = data_hashes([one, other])
    assert set(hashes) == {"data", "data+"}
    assert hashes["data"] == hashes["data+"]
    (other / "sub" / "x.jsonl").rename(other / "sub" / "y.jsonl")
    assert data_hashes([other])["data"] != hashes["data"]
    assert data_hashes([one / "sub" / "x.jsonl"])["x.jsonl"]
    with pytest.raises(InvalidInputFileError):
        data_hashes([tmp_path / "none"])


def test_git_is_no_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_state() == {}
    for command in ("init -q .", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m x", "tag v1"):
        subprocess.run(["git", *command.split()], check=True)
    state = git_state()
    assert (len(state["commit"]), state["tag"], state["changed"]) == (40, "v1", False)
    monkeypatch.setenv("PATH", "")
    assert git_state() == {}
