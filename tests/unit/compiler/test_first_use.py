from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd import Reranker
from rerankd.compiler import first_use
from rerankd.compiler.first_use import FirstUse, cache_folder, open_compiled
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.native.storage import INDEX, WEIGHTS

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture
def files(native_checkpoint: Path) -> ModelFiles:
    return load_model(str(native_checkpoint))


@pytest.fixture
def use(tmp_path: Path) -> FirstUse:
    return FirstUse(device="cpu", cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("precision", [None, "bf16", "int8"])
def test_second_use_compiles_nothing(
    files: ModelFiles, use: FirstUse, precision: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    use = replace(use, precision=precision)
    caplog.set_level(logging.INFO, "rerankd")
    first = open_compiled(files, use)
    assert "Compiled" in caplog.text
    folder = cache_folder(files, use, "native")
    assert sorted(path.name for path in folder.iterdir()) == [INDEX, WEIGHTS]
    caplog.clear()
    second = open_compiled(files, use)
    assert "Compil" not in caplog.text
    assert (first.name, first.precision) == (second.name, second.precision)
    assert first.reason == second.reason
    assert "kernels of our own" in first.reason
    assert ("Kendall's tau of int8 to bf16 is" in first.reason) == (precision is None)
    if precision is not None:
        assert first.precision == precision


def test_copies_share_what_was_compiled(files: ModelFiles, use: FirstUse, tmp_path: Path) -> None:
    shutil.copytree(files.folder, tmp_path / "deeper" / files.folder.name)
    copy = load_model(str(tmp_path / "deeper" / files.folder.name))
    assert cache_folder(copy, use, "native") == cache_folder(files, use, "native")


def test_scores_are_those_of_weights_that_were_not_kept(native_checkpoint: Path, tmp_path: Path) -> None:
    pairs = [("capital of France", "Paris is the capital."), ("capital of France", "Pears."), ("q", "d " * 200)]
    scores = [
        Reranker(str(native_checkpoint), backend="native", precision="int8", compile=kept, cache_dir=str(tmp_path))
        .score(pairs)
        .tolist()
        for kept in (False, True, True)
    ]
    assert scores[0] == scores[1] == scores[2]
    assert len(list((tmp_path / "compiled").glob("*-native-*/"))) == 1


def test_without_compilation_nothing_is_written(files: ModelFiles, use: FirstUse) -> None:
    backend = open_compiled(files, replace(use, compile=False))
    assert backend.name == "native"
    assert not Path(str(use.cache_dir)).exists()


@pytest.mark.parametrize("damage", ["cut", "missing", "index", "empty"])
def test_damaged_weights_are_made_again(
    files: ModelFiles, use: FirstUse, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    use = replace(use, precision="int8")
    open_compiled(files, use)
    folder = cache_folder(files, use, "native")
    whole = (folder / WEIGHTS).read_bytes()
    if damage == "cut":
        (folder / WEIGHTS).write_bytes(whole[:-1])
    elif damage == "missing":
        (folder / WEIGHTS).unlink()
    elif damage == "empty":
        (folder / INDEX).write_text(json.dumps({"precision": "int8", "bytes": len(whole), "arrays": {}}))
    else:
        (folder / INDEX).write_text("{")
    open_compiled(files, use)
    assert "is damaged" in caplog.text
    assert (folder / WEIGHTS).read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_no_failure(
    files: ModelFiles, use: FirstUse, caplog: pytest.LogCaptureFixture
) -> None:
    Path(str(use.cache_dir)).write_text("a file where the folder should be")
    assert open_compiled(files, use).name == "native"
    assert "cannot be kept compiled in" in caplog.text


def test_only_its_own_folders_are_removed(files: ModelFiles, use: FirstUse) -> None:
    root = cache_folder(files, use, "native").parent
    names = ["my-own-model", "old-native-0123456789abcdef", ".old-native-0123456789abcdef.x1.partial", ".notes.partial"]
    for name in names:
        (root / name).mkdir(parents=True)
        os.utime(root / name, (1, 1))
    open_compiled(files, use)
    assert [(root / name).exists() for name in names] == [True, False, False, True]


def test_a_read_only_cache_is_used(files: ModelFiles, use: FirstUse, monkeypatch: pytest.MonkeyPatch) -> None:
    use = replace(use, precision="int8")
    open_compiled(files, use)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(first_use, "_packed", refuse)
    assert open_compiled(files, use).precision == "int8"


def test_another_checkpoint_has_another_folder(files: ModelFiles, use: FirstUse, tmp_path: Path) -> None:
    first = cache_folder(files, use, "native")
    assert cache_folder(files, replace(use, precision="int8"), "native") != first
    assert cache_folder(files, use, "onnx") != first
    changed = tmp_path / files.folder.name
    shutil.copytree(files.folder, changed)
    assert cache_folder(load_model(str(changed)), use, "native") == first
    os.utime(changed / "model.safetensors", ns=(1, 1))
    assert cache_folder(load_model(str(changed)), use, "native") == first
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    assert cache_folder(load_model(str(changed)), use, "native") != first


def test_int8_that_ranks_differently_is_not_chosen(
    files: ModelFiles, use: FirstUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_use, "MIN_KENDALL_TAU", 1.1)
    assert open_compiled(files, use).precision == "bf16"
    index = json.loads((cache_folder(files, use, "native") / INDEX).read_text())
    assert index["precision"] == "bf16"
    assert 0.5 < index["kendall_tau"] <= 1


PROGRAM = """
import sys
from rerankd.compiler import first_use
from rerankd.models.files import load_model
packed = first_use._packed
def counted(*arguments):
    print("packed", flush=True)
    return packed(*arguments)
first_use._packed = counted
print("ready", flush=True)
sys.stdin.readline()
use = first_use.FirstUse(device="cpu", precision="int8", cache_dir=sys.argv[2])
first_use.open_compiled(load_model(sys.argv[1]), use)
print("opened", flush=True)
"""


def _start(files: ModelFiles, use: FirstUse) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(files.folder), str(use.cache_dir)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_eight_processes_compile_once(files: ModelFiles, use: FirstUse) -> None:
    programs = [_start(files, use) for _ in range(8)]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    outputs = [program.communicate(timeout=120)[0] for program in programs]
    assert sorted(outputs) == ["opened\n"] * 7 + ["packed\nopened\n"]


@pytest.mark.slow
def test_killed_process_leaves_nothing_that_is_loaded(files: ModelFiles, use: FirstUse) -> None:
    use = replace(use, precision="int8")
    program = _start(files, use)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "packed\n"
    program.kill()
    program.communicate(timeout=60)
    folder = cache_folder(files, use, "native")
    if not folder.exists():  # it may have been quicker than the signal
        assert open_compiled(files, use).precision == "int8"
    assert sorted(path.name for path in folder.iterdir()) == [INDEX, WEIGHTS]
