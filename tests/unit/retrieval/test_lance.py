from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import ConflictError, NotFoundError, UnavailableError
from rerankd.retrieval.lance import FILES, PASSAGES, LanceIndex
from rerankd.retrieval.retriever import IndexedFile, IndexedPassage


def indexed(folder: Path, texts: Sequence[str]) -> LanceIndex:
    index = LanceIndex(folder, create=True)
    index.add([IndexedPassage(f"a#{part}", "a", part, "d", text, {}) for part, text in enumerate(texts)])
    index.refresh()
    return index


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("the needle", " ".join(f"word{number}" for number in range(300)) + " needle"),
        ("更换滤芯", "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥" * 3 + "滤芯"),
        ("sum " + "0123456789abcdef" * 8, "0123456789abcdef" * 8),
        ("ヤカンの保証", "ﾔｶﾝ"),
        ("Herr Mu\u0308ller", "Müller"),
        ("Kettle\u200bWarmer", "KettleWarmer"),
        ("हिन्दी पाठ", "हिन्दी"),
    ],
)
def test_what_a_text_says_is_found(tmp_path: Path, text: str, query: str) -> None:
    index = indexed(tmp_path / "index", ["something else", text])
    assert [document.text for document in index.search(query)] == [text]


def test_the_rows_of_one_file(tmp_path: Path) -> None:
    index = LanceIndex(tmp_path / "index", create=True)
    for source in ("a'b.txt", "c.txt"):
        index.add([IndexedPassage(f"{source}#{part}", source, part, "d", f"text {part}", {}) for part in (1, 0)])
    assert [(row["source"], row["part"]) for row in index.rows("a'b.txt")] == [("a'b.txt", 0), ("a'b.txt", 1)]
    assert len(index.rows()) == 4
    assert index.rows("none") == []


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_the_owner_may_read_the_files(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        index = indexed(tmp_path / "folder" / "index", ["a secret", "another"])
        index.add([], [IndexedFile("a", "d", 2)])
        index.remove(["a"])
        with index.write_lock():
            index.refresh()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    paths = list((tmp_path / "folder").rglob("*"))
    assert len(paths) > 5
    assert {path.name for path in paths if path.stat().st_mode & 0o077} == set()


def half_made(folder: Path, name: str, how: str) -> None:
    versions = folder / f"{name}.lance" / "_versions"
    shutil.rmtree(versions.parent)
    if how != "only a folder":
        versions.mkdir(parents=True)
    else:
        versions.parent.mkdir()
    if how == "empty manifest":
        (versions / "18446744073709551614.manifest").touch()


@pytest.mark.parametrize("how", ["only a folder", "no manifest", "empty manifest"])
@pytest.mark.parametrize("name", [PASSAGES, FILES])
def test_a_half_made_index_is_made_again(tmp_path: Path, name: str, how: str) -> None:
    index = indexed(tmp_path, ["a text"])
    index.add([], [IndexedFile("a", "d", 1)])
    half_made(tmp_path, name, how)
    if name == PASSAGES:
        with pytest.raises(NotFoundError, match="rerankd index"):
            LanceIndex(tmp_path)
    again = LanceIndex(tmp_path, create=True)
    assert again.files() == {}  # so that every file is read again
    assert len(again) == (name == FILES)
    again.add([IndexedPassage("b#0", "b", 0, "d", "other", {})], [IndexedFile("b", "d", 1)])
    again.refresh()
    assert [document.text for document in LanceIndex(tmp_path).search("other")] == ["other"]


def test_no_two_processes_make_an_index(tmp_path: Path) -> None:
    index = indexed(tmp_path, ["a text"])
    half_made(tmp_path, PASSAGES, "no manifest")
    with index.write_lock(), pytest.raises(ConflictError, match="Another process"):
        LanceIndex(tmp_path, create=True)


@pytest.mark.parametrize(
    ("error", "reason", "hint"),
    [
        (
            RuntimeError(
                "lance error: LanceError(IO): Unable to copy: No space left on device (os error 28), /a/b.rs:8:5"
            ),
            r"\(No space left on device\)",
            "Free disk space",
        ),
        (OSError(28, "No space left on device"), r"\(No space left on device\)", "Free disk space"),
        (
            RuntimeError("lance error: Disk quota exceeded (os error 122), /a/b.rs:8:5"),
            r"\(Disk quota exceeded\)",
            "Free disk space",
        ),
        (PermissionError(13, "Permission denied"), r"\(Permission denied\)", "permissions"),
        (RuntimeError("lance error: odd, /a/b.rs:8:5"), r"\(lance error: odd\)", "permissions"),
    ],
)
def test_an_index_that_cannot_be_written_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, hint: str
) -> None:
    index = indexed(tmp_path, ["a text"])

    def failing(*_: Any, **options: Any) -> None:
        raise error

    for name in ("add", "delete", "optimize"):
        monkeypatch.setattr(type(index._passages), name, failing)
    calls: list[Callable[[], object]] = [
        lambda: index.add([IndexedPassage("b", "b", 0, "d", "text", {})]),
        lambda: index.remove(["a"]),
        index.refresh,
    ]
    for call in calls:
        with pytest.raises(UnavailableError, match=rf"cannot be written {reason}\. .*{hint}"):
            call()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be written"):
        LanceIndex(tmp_path / "file", create=True)
