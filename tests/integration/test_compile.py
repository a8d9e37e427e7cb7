from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rerankd import InvalidRequestError, Reranker, VerificationError
from rerankd.compiler import compile as module
from rerankd.compiler.compile import CompileOptions, compile_model, read_pairs
from rerankd.errors import InvalidInputFileError, MissingDependencyError
from rerankd.models.files import load_model


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written(checkpoint: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    out = tmp_path / "out"
    manifest = compile_model(load_model(str(checkpoint)), out, CompileOptions("fp32"), steps.append)
    assert entries(tmp_path) == ["out"]
    assert entries(out) == ["config.json", "model.onnx", "rerankd.json", "tokenizer.json", "tokenizer_config.json"]
    assert len(steps) >= 4
    assert load_model(str(out)).manifest == manifest
    parity = manifest.parity
    assert parity
    assert parity["max_delta"] < 1e-4
    assert (parity["pairs"], parity["kendall_tau"], parity["top5_overlap"]) == (96, 1.0, 1.0)
    assert (parity["passed"], parity["waived"]) == (True, False)
    assert parity["speedup"] > 0
    assert manifest.source == checkpoint.name


def test_int8_is_a_quarter(compiled: dict[str, Path]) -> None:
    sizes = {precision: (folder / "model.onnx").stat().st_size for precision, folder in compiled.items()}
    assert sizes["int8"] < 0.36 * sizes["fp32"]  # scales weigh more in a narrow model


def test_disagreement_fails_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = load_model(str(checkpoint))
    scored = module._compiled

    def upside_down(*args: object) -> object:
        scores, seconds = scored(*args)  # type: ignore[arg-type]
        return [-score for score in scores], seconds

    monkeypatch.setattr(module, "_compiled", upside_down)
    with pytest.raises(
        VerificationError, match=r"does not rank like its source: Kendall tau -\d.* --waive-verification"
    ):
        compile_model(files, tmp_path / "out", CompileOptions("fp32"))
    assert entries(tmp_path) == []
    waived = compile_model(files, tmp_path / "out", CompileOptions("fp32", waive=True))
    assert waived.parity
    assert (waived.parity["passed"], waived.parity["waived"]) == (False, True)
    assert json.loads((tmp_path / "out" / "rerankd.json").read_text())["parity"]["waived"] is True


def test_a_crash_leaves_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "open_reference", crash)
    with pytest.raises(KeyboardInterrupt):
        compile_model(load_model(str(checkpoint)), tmp_path / "out")
    assert entries(tmp_path) == []


def test_existing_folders(checkpoint: Path, compiled: dict[str, Path], tmp_path: Path) -> None:
    files = load_model(str(checkpoint))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "diary.txt").write_text("mine")
    with pytest.raises(InvalidRequestError, match="exists and is not a model folder"):
        compile_model(files, foreign, CompileOptions(force=True))
    model = shutil.copytree(compiled["int8"], tmp_path / "model")
    with pytest.raises(InvalidRequestError, match="exists. Use --force to replace it."):
        compile_model(files, model)
    compile_model(files, model, CompileOptions("fp32", force=True))
    assert load_model(str(model)).manifest.precision == "fp32"
    empty = tmp_path / "empty"
    empty.mkdir()
    compile_model(files, empty, CompileOptions("fp32"))
    assert Reranker(str(empty)).backend == "onnx cpu fp32"


def test_refused(checkpoint: Path, compiled: dict[str, Path], tmp_path: Path) -> None:
    files = load_model(str(checkpoint))
    with pytest.raises(InvalidRequestError, match="Cannot compile to 'fp16'. Use fp32 or int8."):
        compile_model(files, tmp_path / "out", CompileOptions("fp16"))
    with pytest.raises(InvalidRequestError, match="is compiled already. Pass the checkpoint"):
        compile_model(load_model(str(compiled["fp32"])), tmp_path / "out")
    with pytest.raises(InvalidRequestError, match="--out is the source folder"):
        compile_model(files, checkpoint)


def test_missing_packages(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: str) -> None:
        raise MissingDependencyError("no")

    monkeypatch.setattr(module, "require", missing)
    with pytest.raises(MissingDependencyError):
        compile_model(load_model(str(checkpoint)), tmp_path / "out")


def test_own_pairs(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("# mine\nq\ta\nq\tb\nq\tc\n\nr\td\n")
    assert read_pairs(path) == {"q": ["a", "b", "c"], "r": ["d"]}
    manifest = compile_model(load_model(str(checkpoint)), tmp_path / "out", CompileOptions("fp32", pairs=path))
    assert manifest.parity
    assert manifest.parity["pairs"] == 4


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no tab\n", "line 1: no tab. Write query<TAB>document."),
        (b"q\ta\nr\tb\n", "no query has two documents"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_bad_pairs(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(InvalidInputFileError, match=sentence):
        read_pairs(path)


def test_weights_beyond_the_file_limit_go_beside_the_graph(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    monkeypatch.setattr(module, "EXTERNAL_DATA_BYTES", 1000)
    compile_model(load_model(str(checkpoint)), tmp_path / "out", CompileOptions("fp32"))
    assert "model.onnx.data" in entries(tmp_path / "out")
    assert "model.onnx.data" in load_model(str(tmp_path / "out")).manifest.files
    assert len(Reranker(str(tmp_path / "out")).rank("q", texts)) == 5


def test_words_in_four_bits_are_half_the_size_and_rank_alike(
    checkpoint: Path, compiled: dict[str, Path], tmp_path: Path
) -> None:
    manifest = compile_model(load_model(str(checkpoint)), tmp_path / "out", CompileOptions("int8", "int4", waive=True))
    assert manifest.parity
    assert manifest.parity["kendall_tau"] > 0.8  # random weights: their scores hardly differ
    words = load_model(str(checkpoint)).manifest.architecture.vocabulary * manifest.architecture.hidden
    saved = (compiled["int8"] / "model.onnx").stat().st_size - (tmp_path / "out" / "model.onnx").stat().st_size
    assert saved > 0.3 * words
    text = ("什么 panda eats bamboo", "The panda eats bamboo.")
    (narrow,) = Reranker(str(tmp_path / "out")).score([text], activation="none")
    (wide,) = Reranker(str(compiled["fp32"])).score([text], activation="none")
    assert narrow == pytest.approx(wide, abs=0.2)
    for options in (CompileOptions("fp32", "int4"), CompileOptions("int8", "int3")):
        with pytest.raises(InvalidRequestError, match="word embeddings"):
            compile_model(load_model(str(checkpoint)), tmp_path / "no", options)
