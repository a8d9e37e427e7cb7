from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerankd.errors import NotFoundError
from rerankd.evaluation.folders import TextCache, find_folder, find_folders
from tests.unit.evaluation.folders import write_folder


def test_folders_are_found_by_name(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_folder(root / "tiny")
    write_folder(root / "bare", candidates=False)
    (root / "empty").mkdir()
    found = find_folders([root, tmp_path / "missing"])
    assert [(each.name, each.has_candidates) for each in found] == [("data/bare", False), ("data/tiny", True)]
    assert find_folder([root], "data/tiny").path == root / "tiny"
    assert [each.name for each in find_folders([root / "tiny"])] == ["tiny"]


@pytest.mark.parametrize("name", ["", "tiny", "../tiny", "data/../data/tiny", "/etc", "data/tiny/"])
def test_other_names_lead_nowhere(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "data" / "tiny")
    with pytest.raises(NotFoundError):
        find_folder([tmp_path / "data"], name)


def test_a_link_leads_nowhere_else(tmp_path: Path) -> None:
    write_folder(tmp_path / "private")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "private")
    assert find_folders([tmp_path / "data"]) == []


def test_texts_are_read_and_read_again_when_the_file_changed(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path / "tiny"), TextCache()
    assert cache.read(folder, "corpus", ["d1", "d2", "gone"]) == {
        "d1": "熊猫 大熊猫主要吃竹子。",
        "d2": "Paris is the capital of France.",
    }
    assert cache.read(folder, "queries", ["q2"]) == {"q2": "capital of France"}
    file = folder / "queries.jsonl"
    file.write_text('{"_id": "q2", "text": "changed"}\nnot JSON')
    os.utime(file, ns=(1, 1))
    assert cache.read(folder, "queries", ["q2", "q1"]) == {"q2": "changed"}


def test_remembered_texts_need_no_file_again(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path / "tiny"), TextCache()
    cache.remember(folder / "corpus.jsonl", {"d1": "remembered"})
    assert cache.read(folder, "corpus", ["d1"]) == {"d1": "remembered"}
