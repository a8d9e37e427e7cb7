from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk import files


def test_a_file_grows_from_the_length_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"abcdef")
    file = files.AppendFile(path, 4)
    file.append(b"xy")
    file.sync()
    file.close()
    assert path.read_bytes() == b"abcdxy"
    with pytest.raises(InvalidRequestError, match=r"is shorter .6 bytes. than its checkpoint says .7..*--restart"):
        files.AppendFile(path, 7)


def test_writes_that_take_less_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[:3]))
    file = files.AppendFile(tmp_path / "part", 0)
    file.append(b"0123456789")
    file.close()
    files.replace(tmp_path / "whole", b"0123456789")
    assert (tmp_path / "part").read_bytes() == (tmp_path / "whole").read_bytes() == b"0123456789"


def test_replacing_leaves_one_file(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        files.replace(tmp_path / "journal", data)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("journal", b"second")]


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "finished work is kept"), (errno.EACCES, "Check that the folder")]
)
def test_what_cannot_be_written_is_a_sentence(number: int, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence), files.writable(Path("out")):
        raise OSError(number, os.strerror(number))


def test_a_lock_is_held_once_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.lock"
    with (
        files.locked(path),
        pytest.raises(InvalidRequestError, match=r"Another run is writing out\.jsonl\."),
        files.locked(path),
    ):
        pass
    assert not path.exists()
    with files.locked(path):
        assert path.exists()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    code = (
        "import os, pathlib, sys\nfrom rerankd.jobs.bulk import files\n"
        "with files.locked(pathlib.Path(sys.argv[1])):\n os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert path.exists()
    with files.locked(path):
        pass
    assert not path.exists()


def test_a_lock_file_that_was_removed_under_it_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.lock"
    real, removed = os.open, False

    def opened(*arguments: object, **named: object) -> int:
        nonlocal removed
        file: int = real(*arguments, **named)  # type: ignore[arg-type]
        if not removed:
            path.unlink()
            removed = True
        return file

    monkeypatch.setattr(os, "open", opened)
    with files.locked(path):
        assert path.exists()
