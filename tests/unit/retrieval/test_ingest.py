from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import ConflictError, InvalidInputFileError, InvalidRequestError, NotFoundError, UnavailableError
from rerankd.retrieval import ingest as module
from rerankd.retrieval.ingest_report import IngestReport
from rerankd.retrieval.lance import LanceIndex
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.splitting import Block
from tests.unit.retrieval.ingesting import brought_in, opened, written
from tests.unit.retrieval.letters import Letters


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "docs")


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


def test_the_report_says_what_was_done(folder: Path, tmp_path: Path) -> None:
    (folder / "blank.txt").write_text(" \n\n")
    (folder / "zero.md").touch()
    index = opened(tmp_path)
    for added, unchanged in ((5, 0), (0, 5)):
        report = brought_in(folder, index)
        assert (report.added, report.unchanged) == (added, unchanged)
        assert report.kinds == {"md": 2, "txt": 2, "jsonl": 1}
        assert [Path(source).name for source in report.empty_files] == ["blank.txt", "zero.md"]
        assert report.empty == 2
        assert [Path(source).name for source in report.unsupported] == ["x.bin"]
        assert report.unsupported_kinds == {"bin": 1}
        assert report.hidden == 1


def test_a_name_that_is_not_utf_8_is_skipped_and_the_rest_is_indexed(folder: Path, tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", b"\xff\xfe.md", "手册".encode("gb18030") + b".csv"):
        (folder / Path(os.fsdecode(name))).write_text("id,text\n1,x")
    report = brought_in(folder, opened(tmp_path))
    assert report.added == 3
    assert [reason for _, reason in report.errors] == ["Its name is not valid UTF-8. Rename the file."] * 3
    assert all(name.encode() for name, _ in report.errors)


@pytest.mark.parametrize(
    "error", [UnicodeError("bad codec"), LookupError("undefined"), ValueError(), ZeroDivisionError()]
)
def test_whatever_a_parser_raises_the_other_files_are_indexed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    parse = vars(module)["parse"]

    def failing(path: Path, **options: Any) -> Any:
        yield from parse(path, **options)
        if path.suffix in (".md", ".jsonl"):
            raise error

    monkeypatch.setattr(module, "parse", failing)
    index = opened(tmp_path)
    report = brought_in(folder, index)
    [(document, why), (table, cut)] = [*report.errors, *report.partly_read]
    assert (Path(document).name, Path(table).name) == ("a.md", "c.jsonl")
    assert type(error).__name__ in why
    assert type(error).__name__ in cut
    assert "The rows before it are in the index." not in why
    assert "The rows before it are in the index." in cut
    assert {Path(row["source"]).name for row in index.rows()} == {"b.txt", "c.jsonl"}


def test_an_index_that_cannot_be_written_stops_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path)

    def full(*_: Any) -> None:
        raise UnavailableError("The disk is full.")

    monkeypatch.setattr(index, "add", full)
    with pytest.raises(UnavailableError, match="The disk is full"):
        brought_in(folder, index)


def test_lone_surrogates_do_not_lose_the_batch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = ParsedDocument([Block("broken \ud800 text")], metadata={"title": "a\udfff", "tags": ["\ud83d\ude00", 1]})
    monkeypatch.setattr(module, "parse", lambda path, **_: iter([parsed]))
    index = opened(tmp_path)
    assert brought_in(folder, index).errors == []
    row = index.rows()[0]
    assert row["text"] == "broken \ufffd text"
    assert json.loads(row["metadata"]) == {"title": "a\ufffd", "tags": ["😀", 1]}


def test_lost_characters_and_notes_are_in_the_report(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ParsedDocument([Block("a \ufffd")], lost_characters=1, notes=("One note.",)) for _ in range(3)]
    monkeypatch.setattr(module, "parse", lambda path, **_: iter(rows if path.suffix == ".jsonl" else []))
    report = brought_in(folder, opened(tmp_path))
    source = (folder / "c.jsonl").as_posix()
    assert report.lost_characters == {source: 3}
    assert report.notes == [(source, "One note.")]


def test_what_only_a_refused_link_leads_to_leaves_the_index(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("A secret text.")
    (folder / "link.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (folder / "link").symlink_to(tmp_path / "outside")
    index = opened(tmp_path)
    report = brought_in(folder, index, follow_links=True)
    assert (report.added, len(report.links)) == (5, 2)
    report = brought_in(folder, index)
    assert (report.removed, report.unchanged, len(report.errors)) == (2, 3, 2)
    assert index.search("secret") == []


def test_files_below_a_folder_that_cannot_be_read_stay(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path)
    brought_in(folder, index)
    scandir, stat = os.scandir, os.stat

    def refusing(call: Any) -> Any:
        def guarded(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, str | Path) and Path(path).parts[-2:] in (("docs", "sub"), ("sub", "b.txt")):
                raise PermissionError(13, "Permission denied")
            return call(path, *args, **options)

        return guarded

    monkeypatch.setattr(os, "scandir", refusing(scandir))
    monkeypatch.setattr(os, "stat", refusing(stat))
    report = brought_in(folder, index)
    assert (report.removed, len(report.errors)) == (0, 1)
    assert index.search("bamboo")
