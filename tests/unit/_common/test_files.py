from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from rerankd._common.files import atomic_folder, lock_file, replace_folder, writable, write_atomic
from rerankd.errors import InvalidInputFileError, InvalidRequestError, RerankdError


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("old")
    path.chmod(0o600)
    write_atomic(path, b"new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["keys.toml"]


def test_a_new_file_has_the_permissions_asked_for(tmp_path: Path) -> None:
    write_atomic(tmp_path / "secret", b"x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"

    def fail_half_way() -> None:
        with atomic_folder(target) as folder:
            (folder / "a").write_text("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert not target.exists()
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    with atomic_folder(target) as folder:
        (folder / "b").write_text("2")
    assert os.listdir(target) == ["b"]
    assert os.listdir(target.parent) == ["model"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("1")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "missing", tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(tmp_path / "model") == ["a"]


def test_a_lock_keeps_other_processes_out_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "store.lock"
    program = (
        "import sys, pathlib; from rerankd._common.files import lock_file\n"
        "with lock_file(pathlib.Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(filelock.Timeout), lock_file(path, timeout=0):
            pass
        holder.kill()
        holder.wait()
    with lock_file(path, timeout=5):
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "a.txt cannot be written (Read-only file system). Check it."),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "a.txt cannot be written (No space left on device). Free it.",
        ),
        (OSError("the pipe broke\nat once"), "a.txt cannot be written (the pipe broke). Check it."),
        (OSError(), "a.txt cannot be written (OSError). Check it."),
        (shutil.Error([("a", "b", "no")]), "a.txt cannot be written ([('a', 'b', 'no')]). Check it."),
    ],
)
def test_an_error_of_writing_names_the_path_the_reason_and_the_fix(error: OSError, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught, writable("a.txt", hint="Check it.", full_hint="Free it."):
        raise error
    assert str(caught.value) == message
    assert caught.value.__cause__ is error


def test_an_error_of_writing_has_the_class_that_is_asked_for() -> None:
    with pytest.raises(InvalidInputFileError), writable(Path("a"), raises=InvalidInputFileError):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(RerankdError, match="^ours$"), writable(Path("a")):
        raise RerankdError("ours")
