"""Flags that were renamed: the old name still works, and help shows the new one only."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rerankd.cli import models
from rerankd.cli.main import app
from rerankd.compiler.compile import CompileOptions
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.traces.rankings import ranking


@pytest.mark.parametrize("flag", ["--variant", "--arm"])
def test_traces_of_a_variant(flag: str, tmp_path: Path) -> None:
    """In JSON the variant is `arm`, as in the database."""
    url = f"sqlite:///{tmp_path}/traces.sqlite"
    store = TraceStore(url)
    store.write(
        [
            build_trace(dataclasses.replace(ranking(), experiment="e", variant=variant))
            for variant in ("champion", "challenger")
        ]
    )
    store.close()
    result = CliRunner().invoke(app, ["traces", "list", "--json", "--traces-url", url, flag, "challenger"])
    assert [json.loads(line)["arm"] for line in result.stdout.splitlines()] == ["challenger"]


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--embedding-precision", "--words"])
def test_precision_of_word_embeddings(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precisions: list[str] = []

    def compile_model(files: object, out: Path, options: CompileOptions, say: object) -> None:
        precisions.append(options.embedding_precision)
        raise typer.Exit

    monkeypatch.setattr(models, "compile_model", compile_model)
    for arguments in ([], [flag, "int4"]):
        CliRunner().invoke(app, ["models", "compile", "mini", "--out", str(tmp_path / "out"), *arguments])
    assert precisions == ["int8", "int4"]


@pytest.mark.parametrize(
    ("command", "flag", "old"),
    [(["traces", "list"], "--variant", "--arm"), (["models", "compile"], "--embedding-precision", "--words")],
)
def test_help_shows_the_new_name_only(command: list[str], flag: str, old: str) -> None:
    output = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
    assert flag in output
    assert old not in output
