from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rerankd.cli import index as module
from rerankd.cli.main import app
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.retrieval.ingest_report import IngestReport

pytestmark = pytest.mark.slow  # an index is made for each


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RERANKD_INDEX", "index")
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "a.md").write_text("# Top\n\nHello.\n\n## Sub\n\n    an indented\n    \x1b[31mline\n")
    (tmp_path / "docs" / "sub" / "a.md").write_text("Another a.")
    (tmp_path / "docs" / "empty.txt").touch()
    (tmp_path / "docs" / "image.png").touch()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def rows(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments)
    assert result.exception is None, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_index_says_what_it_did_and_lists_and_shows_it(folder: Path) -> None:
    [report] = rows("index", "docs")
    assert (report["added"], report["passages"], report["total"]) == (3, 3, 3)
    assert report["kinds"] == {"md": 2, "txt": 1}
    assert report["unsupported"] == ["docs/image.png"]
    assert report["empty_files"] == ["docs/empty.txt"]
    assert [*rows("index", "add", "docs"), *rows("index", "--keep-gone", "docs")] == [
        report | {"added": 0, "unchanged": 3, "passages": 0}
    ] * 2
    assert rows("index", "ls") == [
        {"source": "docs/a.md", "passages": 2, "complete": True},
        {"source": "docs/empty.txt", "passages": 0, "complete": True},
        {"source": "docs/sub/a.md", "passages": 1, "complete": True},
    ]
    first, second = rows("index", "show", "./docs/a.md")
    assert (first["id"], first["text"]) == ("docs/a.md#0", "Top\nHello.")
    assert second["metadata"]["heading"] == "Top > Sub"
    assert [row["text"] for row in rows("index", "show", "sub/a.md")] == ["Another a."]
    assert rows("index", "show", "empty.txt") == []


def test_on_a_terminal_the_passages_are_as_they_were_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("index", "docs")
    monkeypatch.setattr(module, "wants_json", lambda flag: False)
    shown = run("index", "show", "docs/a.md")
    assert "[2] docs/a.md" in shown.stdout
    assert "\n    \ufffd[31mline\n" in shown.stdout
    assert "\x1b[31mline" not in shown.stdout
    assert "2 passages." in shown.stderr
    listed = run("index", "ls")
    assert "docs/sub/a.md" in listed.stdout
    assert "3 files, 3 passages." in listed.stderr


def test_a_file_that_is_not_there_and_one_of_several(folder: Path) -> None:
    assert isinstance(run("index", "ls").exception, NotFoundError)
    assert not (folder / "index").exists()
    run("index", "docs")
    unknown = run("index", "show", "b.md").exception
    assert isinstance(unknown, NotFoundError)
    assert "rerankd index ls" in str(unknown)
    ambiguous = run("index", "show", "a.md").exception
    assert isinstance(ambiguous, InvalidRequestError)
    assert "a.md may be docs/a.md or docs/sub/a.md." in str(ambiguous)


def test_a_folder_named_like_a_command_is_indexed_by_its_path(folder: Path) -> None:
    (folder / "docs").rename(folder / "ls")
    assert rows("index", "./ls")[0]["added"] == 3


def test_a_link_is_followed_if_asked_and_said(folder: Path) -> None:
    (folder / "outside.txt").write_text("Outside.")
    (folder / "docs" / "link.txt").symlink_to(folder / "outside.txt")
    refused = run("index", "docs")
    assert "skipped docs/link.txt: It is a symbolic link out of the folder" in refused.stderr
    followed = run("index", "docs", "--follow-links")
    assert json.loads(followed.stdout)["links"][0]["target"] == str(folder / "outside.txt")
    assert "followed docs/link.txt: a symbolic link to" in followed.stderr


def test_a_name_in_another_encoding_can_be_printed(folder: Path) -> None:
    Path(os.fsdecode(b"docs/caf\xe9.txt")).touch()
    result = run("index", "docs")
    assert (result.exit_code, json.loads(result.stdout)["added"]) == (7, 3)
    assert "skipped docs/caf\\xe9.txt: Its name is not valid UTF-8. Rename the file." in result.stderr


def test_a_report_names_files_but_not_all_of_hundreds(capsys: pytest.CaptureFixture[str]) -> None:
    report = IngestReport(
        unsupported=[f"a{number}.{'zip' if number % 3 else 'PNG'}" for number in range(100)],
        lost_characters={"b.txt": 7},
        hidden=2,
        notes=[("c.csv", "Read with semicolons.")],
    )
    module._print_report(report, 0)
    printed = capsys.readouterr().err
    assert "Not supported: 100 files (66 zip, 34 png): a0.PNG, a1.zip" in printed
    assert "a9.PNG, 90 more." in printed
    assert "lost b.txt: 7 characters could not be decoded" in printed
    assert "note c.csv: Read with semicolons." in printed
    assert "2 hidden files and folders" in printed
    assert "No file of a supported type was found there." in printed


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    report = IngestReport(
        errors=[("a[/red].csv", "Row [/1] is [bold]cut[/bold]."), ("[b].md", "Locked.")],
        notes=[("[/x].html", "Left out: footers."), ("[y].html", "Left out: footers."), ("[z].html", "One [/note].")],
    )
    module._print_report(report, 0)
    printed = capsys.readouterr().err
    assert "skipped a[/red].csv: Row [/1] is [bold]cut[/bold]." in printed
    assert "skipped [b].md: Locked." in printed
    assert "note 2 files: Left out: footers. [/x].html, [y].html" in printed
    assert "note [z].html: One [/note]." in printed


@pytest.mark.parametrize("name", ["a[/red].txt", "[bold]b.txt", "[link=x]c.txt"])
def test_a_file_with_brackets_in_its_name_is_listed_and_shown(folder: Path, name: str) -> None:
    (folder / "docs" / name.replace("/", "")).write_text("A text [/with] brackets.")
    assert run("index", "docs").exit_code == 0
    assert run("index", "ls").exit_code == 0
    shown = run("index", "show", name.replace("/", ""))
    assert "A text [/with] brackets." in shown.stdout


@pytest.mark.parametrize(
    ("files", "code", "counts"),
    [
        ({"good.txt": "Fine."}, 0, "0 partly read, 0 skipped"),
        ({"good.txt": "Fine.", "bad.jsonl": "{"}, 7, "0 partly read, 1 skipped"),
        ({"bad.jsonl": '{"text": "One."}\n{'}, 7, "1 partly read, 0 skipped"),
        ({"good.txt": "Fine.", "bad.csv": "text\na\nb,c\n", "other.pdf": "x"}, 7, "1 partly read, 1 skipped"),
        ({"bad.jsonl": "{", "other.pdf": "x"}, 2, "0 partly read, 2 skipped"),
        ({"empty.txt": "", "image.png": "x", ".hidden": "x"}, 0, "0 partly read, 0 skipped"),
    ],
)
def test_the_exit_code_says_whether_every_file_is_in_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], code: int, counts: str
) -> None:
    monkeypatch.setenv("RERANKD_INDEX", str(tmp_path / "index"))
    (tmp_path / "docs").mkdir()
    for name, content in files.items():
        (tmp_path / "docs" / name).write_text(content)
    result = run("index", str(tmp_path / "docs"))
    assert (result.exit_code, counts in result.stderr) == (code, True), result.output
    report = json.loads(result.stdout)
    assert f"{len(report['partly_read'])} partly read, {len(report['errors'])} skipped" == counts
