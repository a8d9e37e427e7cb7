from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.found_files import FoundFiles, find_files, printable

SUFFIXES = (".txt", ".md")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.MD").write_text("b")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.txt").write_text("c")
    return root


def names(found: FoundFiles, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.paths]


def test_what_is_left_out_is_counted(root: Path) -> None:
    (root / "image.PNG").touch()
    (root / "LICENSE").touch()
    (root / ".git").mkdir()
    (root / ".git" / "x.txt").touch()
    (root / ".hidden.txt").touch()
    found = find_files([root], SUFFIXES)
    assert names(found, root) == ["a.txt", "sub/b.MD"]
    assert sorted(path.name for path in found.unsupported) == ["LICENSE", "image.PNG"]
    assert (found.hidden, found.skipped) == (2, [])


@pytest.mark.parametrize("link", ["file", "folder", "chain", "parent", "relative"])
def test_links_out_of_the_folder_are_followed_only_if_asked(root: Path, tmp_path: Path, link: str) -> None:
    target = {"file": tmp_path / "secret.txt", "folder": tmp_path / "elsewhere", "parent": tmp_path}.get(link)
    (root / "link.txt").symlink_to(target or Path("../secret.txt"))
    if link == "chain":
        (root / "link.txt").unlink()
        (tmp_path / "between").symlink_to(tmp_path / "secret.txt")
        (root / "link.txt").symlink_to(tmp_path / "between")
    found = find_files([root], SUFFIXES)
    assert names(found, root) == ["a.txt", "sub/b.MD"]
    [(path, reason)] = found.skipped
    assert found.refused == [path] == [root / "link.txt"]
    assert "symbolic link out of the folder" in reason
    assert "--follow-links" in reason
    followed = find_files([root], SUFFIXES, follow_links=True)
    assert len(followed.paths) > 2
    assert followed.links == [(root / "link.txt", os.path.realpath(root / "link.txt"))]
    assert followed.skipped == []


def test_links_within_the_folder_are_followed_once(root: Path) -> None:
    (root / "again.txt").symlink_to("sub/b.MD")
    (root / "loop").symlink_to(".")
    (root / "sub" / "loop").symlink_to("..")
    (root / "copy").symlink_to("sub")
    for follow_links in (False, True):
        found = find_files([root], SUFFIXES, follow_links=follow_links)
        assert names(found, root) == ["a.txt", "again.txt", "sub/b.MD"]
        assert (found.skipped, found.links) == ([], [])


def test_mounted_volumes_of_kubernetes_are_read(tmp_path: Path) -> None:
    (tmp_path / "..2026" / "more").mkdir(parents=True)
    (tmp_path / "..2026" / "a.txt").write_text("a")
    (tmp_path / "..2026" / "more" / "b.txt").write_text("b")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.txt").symlink_to("..data/a.txt")
    (tmp_path / "more").symlink_to("..data/more")
    found = find_files([tmp_path], SUFFIXES)
    assert names(found, tmp_path) == ["a.txt", "more/b.txt"]
    assert found.skipped == []


def test_a_folder_next_to_the_root_with_its_name_is_outside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "docs-private").mkdir()
    (tmp_path / "docs-private" / "d.txt").touch()
    (root / "d.txt").symlink_to(tmp_path / "docs-private" / "d.txt")
    assert len(find_files([root], SUFFIXES).refused) == 1


def test_a_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "link.txt").symlink_to("secret.txt")
    found = find_files([tmp_path / "link", tmp_path / "link.txt"], SUFFIXES)
    assert names(found, tmp_path) == ["link/a.txt", "link/sub/b.MD", "link.txt"]


def test_what_cannot_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe.txt")
    (root / "dangling.txt").symlink_to("nothing.txt")
    scandir = os.scandir

    def refusing(folder: Any) -> Any:
        if Path(folder).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find_files([root], SUFFIXES)
    reasons = {path.name: reason for path, reason in found.skipped}
    assert reasons.keys() == {"pipe.txt", "dangling.txt", "sub"}
    assert reasons["sub"] == "The folder cannot be read (Permission denied)."
    assert "nothing.txt, which does not exist" in reasons["dangling.txt"]
    with pytest.raises(InvalidInputFileError, match="neither a file nor a folder"):
        find_files([root / "pipe.txt"], SUFFIXES)
    with pytest.raises(InvalidInputFileError, match="does not exist"):
        find_files([root / "none\udce9"], SUFFIXES)


def test_paths_are_printed_whatever_their_bytes() -> None:
    assert printable(Path("caf\udce9\udcff.txt")) == "caf\\xe9\\xff.txt"
    assert printable("手册.txt") == "手册.txt"
