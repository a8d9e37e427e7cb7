from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import ConflictError, InvalidInputFileError, InvalidRequestError, NotFoundError
from rerankd.retrieval import ingest as module
from rerankd.retrieval.ingest import IngestOptions, IngestReport, ingest
from rerankd.retrieval.lance import LanceIndex
from rerankd.retrieval.splitting import SplitOptions
from tests.unit.retrieval.letters import Letters, offsets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / "a.md").write_text(
        "# 保修\n\n手机的保修期为一年。\n\n# Returns\n\nGoods may be returned within seven days."
    )
    (root / "sub" / "b.txt").write_text("Pandas eat bamboo. " * 20)
    (root / "c.jsonl").write_text(
        "\n".join(f'{{"id": "{i}", "text": "row number {i} about topic{i % 7}"}}' for i in range(50))
    )
    (root / ".hidden.md").write_text("secret")
    (root / "x.bin").write_bytes(b"\0\1")
    return root


def brought_in(folder: Path, index: LanceIndex, **options: Any) -> IngestReport:
    return ingest([folder], index, offsets, IngestOptions(SplitOptions(32, 4), **options))


def opened(tmp_path: Path, name: str = "index") -> LanceIndex:
    return LanceIndex(tmp_path / name, create=True)


def contents(index: LanceIndex) -> list[tuple[str, int, str, str]]:
    return [(row["source"], row["part"], row["text"], row["metadata"]) for row in index.rows()]


@pytest.mark.slow
def test_documents_come_in_and_are_found_in_both_languages(folder: Path, tmp_path: Path) -> None:
    index = opened(tmp_path)
    report = brought_in(folder, index)
    assert (report.added, report.errors, report.passages) == (3, [], len(index))
    first = index.search("保修多久", 5)[0]
    assert "一年" in first.text
    assert first.metadata["source"].endswith("a.md")
    assert first.metadata["heading"] == "保修"
    assert first.metadata["score"] > 0
    assert "returned within" in index.search("return of goods", 3)[0].text
    assert index.search("topic3 row", 50)[0].metadata["id"] in {str(i) for i in range(3, 50, 7)}
    assert index.search("zzzzqqq") == []
    with pytest.raises(InvalidRequestError):
        index.search("  ")


@pytest.mark.slow
def test_only_what_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    index = opened(tmp_path)
    brought_in(folder, index)
    report = brought_in(folder, index)
    assert (report.added, report.changed, report.unchanged, report.passages) == (0, 0, 3, 0)
    (folder / "a.md").write_text("# 保修\n\n保修期改为两年。")
    (folder / "c.jsonl").unlink()
    (folder / "d.txt").write_text("new one")
    report = brought_in(folder, index)
    assert (report.added, report.changed, report.unchanged, report.removed) == (1, 1, 1, 1)
    assert "两年" in index.search("保修")[0].text
    assert not any("一年" in row["text"] for row in index.rows())
    assert not any(row["source"].endswith("c.jsonl") for row in index.rows())


@pytest.mark.slow
def test_files_that_are_gone_may_stay(folder: Path, tmp_path: Path) -> None:
    index = opened(tmp_path)
    brought_in(folder, index)
    (folder / "c.jsonl").unlink()
    assert brought_in(folder, index, prune=False).removed == 0
    assert any(row["source"].endswith("c.jsonl") for row in index.rows())


@pytest.mark.slow
def test_a_broken_file_is_skipped_and_its_good_version_stays(folder: Path, tmp_path: Path) -> None:
    index = opened(tmp_path)
    (folder / "broken.pdf").write_bytes(b"%PDF broken")
    report = brought_in(folder, index)
    assert report.added == 3
    assert [(Path(source).name, "PDF cannot" in reason) for source, reason in report.errors] == [("broken.pdf", True)]
    (folder / "a.md").write_bytes(bytes(range(256)) * 4)
    report = brought_in(folder, index)
    assert len(report.errors) == 2
    assert "一年" in index.search("保修")[0].text


def test_an_empty_folder_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    index = opened(tmp_path)
    assert brought_in(tmp_path / "empty", index) == IngestReport()
    assert index.search("anything") == []
    with pytest.raises(InvalidInputFileError, match="does not exist"):
        brought_in(tmp_path / "none", index)
    with pytest.raises(NotFoundError, match="rerankd index"):
        LanceIndex(tmp_path / "nowhere")


class StoppedError(BaseException):
    """Error that stands for a killed process."""


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_an_interrupted_run_ends_in_the_same_index(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 8)
    undisturbed = opened(tmp_path, "whole")
    brought_in(folder, undisturbed)
    index = opened(tmp_path)
    add, count = index.add, iter(range(1000))

    def stopping(rows: Any, complete: Any = ()) -> None:
        if next(count) == after:
            add(rows)  # the passages are there, the file is not said to be complete
            raise StoppedError
        add(rows, complete)

    monkeypatch.setattr(index, "add", stopping)
    with suppress(StoppedError):
        brought_in(folder, index)
    again = LanceIndex(tmp_path / "index")
    before = len(again)
    assert before > 0
    brought_in(folder, again)
    assert contents(again) == contents(undisturbed)
    assert again.files() == undisturbed.files()
    assert [d.id for d in again.search("row about topic3", 9)] == [
        d.id for d in undisturbed.search("row about topic3", 9)
    ]


def test_two_writers_do_not_mix(folder: Path, tmp_path: Path) -> None:
    index = opened(tmp_path)
    with index.write_lock(), pytest.raises(ConflictError, match="Another process"):
        brought_in(folder, LanceIndex(tmp_path / "index"))


def test_vectors_and_keywords_are_fused_and_do_not_mix_with_others(folder: Path, tmp_path: Path) -> None:
    index = LanceIndex(tmp_path / "index", Letters(), create=True)
    brought_in(folder, index)
    assert "Pandas" in index.search("bmbooo aestand eats", 3)[0].text
    assert len(index.search("zzzz", 5)) == 5
    other = Letters("others")
    with pytest.raises(ConflictError, match="letters, not with others"):
        LanceIndex(tmp_path / "index", other)
    assert LanceIndex(tmp_path / "index").search("bamboo")


def test_a_reader_sees_what_a_writer_put_in(folder: Path, tmp_path: Path) -> None:
    index = opened(tmp_path)
    brought_in(folder, index)
    reader = LanceIndex(tmp_path / "index")
    assert reader.search("giraffe") == []
    (folder / "g.txt").write_text("A giraffe is tall.")
    brought_in(folder, index)
    assert reader.search("giraffe")[0].text == "A giraffe is tall."
