from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerankd.retrieval.lance import LanceIndex
from tests.unit.retrieval.ingesting import brought_in, opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    return root


def metadata_of(index: LanceIndex, path: Path) -> list[dict[str, Any]]:
    return [json.loads(row["metadata"]) for row in index.rows(path.as_posix())]


@pytest.mark.parametrize(
    ("name", "content", "kept"),
    [
        ("r.csv", "id,text,source,score,rank\n7,row,web,0.9,3\n",
         {"id": "7", "source_in_file": "web", "score_in_file": "0.9", "rank": "3", "line": 2}),
        ("r.jsonl", '{"_id": 7, "id": "b", "text": "row", "source": ["web"], "source_in_file": 1}',
         {"id": "7", "id_in_file": "b", "source_in_file_in_file": ["web"], "source_in_file": 1, "line": 1}),
        ("r.md", "---\nid: 7\nheading: h\npage: 9\nline: 3\nsource: web\nscore: 5\n---\nText.\n",
         {"id_in_file": 7, "heading_in_file": "h", "page_in_file": 9, "line_in_file": 3, "source_in_file": "web",
          "score_in_file": 5, "line": 9}),
    ],
)  # fmt: skip
def test_what_a_file_says_under_names_of_a_passage_is_kept(
    folder: Path, tmp_path: Path, name: str, content: str, kept: dict[str, Any]
) -> None:
    (folder / name).write_text(content)
    index = opened(tmp_path)
    report = brought_in(folder, index)
    assert metadata_of(index, folder / name) == [kept]
    [note] = [note for source, note in report.notes if source.endswith(name)]
    assert "source as source_in_file" in note
    document = next(found for found in index.search("row text", 60) if found.metadata["source"].endswith(name))
    assert {key: value for key, value in document.metadata.items() if key not in ("source", "score")} == kept


def test_every_passage_of_a_row_has_its_id(folder: Path, tmp_path: Path) -> None:
    (folder / "r.csv").write_text("id,text\n7," + "A long row. " * 20 + "\n7,twice\n")
    index = opened(tmp_path)
    brought_in(folder, index)
    rows = metadata_of(index, folder / "r.csv")
    assert len(rows) > 3
    assert {row["id"] for row in rows} == {"7"}


@pytest.mark.parametrize(
    ("name", "content", "value"),
    [
        ("r.md", f"---\nbig: {10**29}\n---\nText.\n", str(10**29)),
        ("r.markdown", f"+++\nbig = {-(10**29)}\n+++\nText.\n", str(-(10**29))),
        ("r.jsonl", f'{{"text": "row", "big": {10**29}}}', str(10**29)),
        ("r.jsonl", f'{{"text": "row", "big": {"[" * 400}{"]" * 400}}}', "[" * 400 + "]" * 400),
        ("r.md", f"---\nbig: {'[' * 120}1{']' * 120}\n---\nText.\n", "[" * 120 + "1" + "]" * 120),
    ],
)
def test_metadata_that_json_cannot_carry_stop_no_run(
    folder: Path, tmp_path: Path, name: str, content: str, value: str
) -> None:
    (folder / name).write_text(content)
    index = opened(tmp_path)
    assert brought_in(folder, index).errors == []
    assert metadata_of(index, folder / name)[0]["big"] == value
