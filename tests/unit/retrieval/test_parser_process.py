from __future__ import annotations

import datetime
import decimal
import os
import pickle
import sys
import zipfile
from collections.abc import Generator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval import parser_process
from rerankd.retrieval.parser_process import ParseLimits
from rerankd.retrieval.parsing import parse

pytestmark = pytest.mark.slow

WORD = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{}</w:body></w:document>'


def idle() -> list[int]:
    return [process._process.pid for process in parser_process._idle]


def test_one_process_parses_many_files(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.md").write_text(f"# Title {number}\n\nText.\n")
    [first] = parse(tmp_path / "0.md")
    before = idle()
    [second] = parse(tmp_path / "1.md")
    assert idle() == before != []
    assert [block.headings for block in (*first.blocks, *second.blocks)] == [("Title 0",), ("Title 1",)]


def test_a_table_is_streamed_and_may_be_left(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,n\n" + "".join(f"row {number},{number}\n" for number in range(1000)))
    assert sum(1 for _ in parse(path)) == 1000
    rows = parse(path)
    assert isinstance(rows, Generator)
    assert next(rows).metadata == {"n": "0"}
    rows.close()  # the process that was still at it is ended
    assert next(parse(path)).metadata == {"n": "0"}


def test_metadata_keeps_its_types(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    at = datetime.datetime(2026, 3, 1, 10, tzinfo=ZoneInfo("Europe/Zurich"))
    row = {"text": "x", "at": at, "day": at.date(), "tags": ["a"], "of": {"n": 1}, "price": decimal.Decimal("9.90")}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    [document] = parse(tmp_path / "a.parquet")
    assert document.metadata == {name: value for name, value in row.items() if name != "text"}


def test_rows_before_a_broken_one_are_given(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1,fine\n2,not, fine\n")
    rows = parse(path)
    assert next(rows).id == "1"
    with pytest.raises(InvalidInputFileError, match="Row 2") as error:
        next(rows)
    assert error.value.hint.startswith("Put values that contain a comma in quotes")
    assert idle()  # a broken file does not end the process


def test_a_file_may_not_take_too_long_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Text.")
    with monkeypatch.context() as patched:
        patched.setattr(parser_process, "_CLOCK", 0.0001)
        with pytest.raises(InvalidInputFileError, match="longer than 7 seconds"):
            list(parse(path, limits=ParseLimits(seconds=7)))
    (tmp_path / "b.txt").write_text("The next file is read.")
    assert len(list(parse(tmp_path / "b.txt"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of processor time")
def test_a_file_may_not_take_too_much_processor_time(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", WORD.format("<w:p/>" * 2_000_000))
    with pytest.raises(InvalidInputFileError, match="longer than 1 seconds"):
        list(parse(path, limits=ParseLimits(seconds=1)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_file_may_not_take_too_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", WORD.format("<w:p><w:r/></w:p>" * 3_000_000))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InvalidInputFileError, match="more than 200 MB of memory|Word document cannot be read"):
        list(parse(path, limits=ParseLimits(memory_mb=200)))


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chardet.py").write_text("raise SystemExit('imported')")
    (tmp_path / "a.txt").write_bytes("Größe und Maß für die Straße in München.".encode("cp1252"))
    monkeypatch.chdir(tmp_path)
    [document] = parse(Path("a.txt"), limits=ParseLimits(seconds=59))  # other limits start another process
    assert [block.text for block in document.blocks] == ["Größe und Maß für die Straße in München."]


def test_a_file_name_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    try:
        path.write_text("Text.")
    except OSError:
        pytest.skip("this file system allows only UTF-8")
    assert len(list(parse(path))) == 1


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match="cannot be read \\(No such file"):
        list(parse(tmp_path / "a.txt"))


def test_a_message_cannot_run_code() -> None:
    import io

    with pytest.raises(pickle.UnpicklingError, match="not expected"):
        parser_process.receive(io.BytesIO(pickle.dumps(os.system)))
