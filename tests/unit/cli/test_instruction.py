"""`--instruction`, wherever a command ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rerankd._common.instruction import IGNORED
from rerankd.cli.main import app
from rerankd.errors import InvalidRequestError
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import TruncationOverrides
from tests.instructions import ASKED, read_instructions
from tests.unit.traces.rankings import ranking

pytestmark = pytest.mark.slow  # a model is loaded for each command


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    return read_instructions(monkeypatch)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "documents.txt").write_text("A car.\nA panda eats bamboo.\n")
    (tmp_path / "pairs.tsv").write_text("q\tA car.\nq\tA panda.\n")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"query": "q", "documents": ["a", "b"]}) + "\n")
    return tmp_path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None, result.output
    return result


def test_commands_that_rank_take_it(seen: list[str | None]) -> None:
    flag = ("--instruction", ASKED, "--threads", "1")
    for arguments in (
        ("rank", "q", "documents.txt", "--json"),
        ("score", "pairs.tsv", "--json"),
        ("bulk", "rows.jsonl", "--out", "scores.jsonl"),
    ):
        result = run(*arguments, *flag)
        assert IGNORED not in result.stderr
        assert (arguments[0], set(seen)) == (arguments[0], {ASKED})
        seen.clear()


def test_the_settings_have_one_for_each_model(
    seen: list[str | None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rerankd.toml").write_text('instruction = "any"\ninstructions = { mini = "of mini, with a comma" }\n')
    run("rank", "q", "documents.txt", "--json")
    assert seen == ["of mini, with a comma"]
    monkeypatch.setenv("RERANKD_INSTRUCTIONS", '{"other": "x"}')
    run("rank", "q", "documents.txt", "--json")
    assert seen[1:] == ["any"]


def test_a_model_that_reads_none_is_named() -> None:
    for arguments in (("rank", "q", "documents.txt", "--json"), ("bulk", "rows.jsonl", "--out", "scores.jsonl")):
        result = run(*arguments, "--instruction", ASKED)
        assert f"mini: {IGNORED}." in result.stderr.replace("\n", " ")
        assert "UserWarning" not in result.stderr


def test_another_instruction_is_another_run(seen: list[str | None], folder: Path) -> None:
    command = ("bulk", "rows.jsonl", "--out", "scores.jsonl")
    run(*command, "--instruction", "one")
    one = (folder / "scores.jsonl").read_bytes()
    result = CliRunner().invoke(app, [*command, "--instruction", "two"])
    assert isinstance(result.exception, InvalidRequestError)
    run(*command, "--instruction", "two", "--restart")
    assert (folder / "scores.jsonl").read_bytes() != one


def test_traces_are_shown_and_replayed_with_it(seen: list[str | None], folder: Path) -> None:
    url = f"sqlite:///{folder}/traces.sqlite"
    store = TraceStore(url)
    store.write([build_trace(ranking(truncation=TruncationOverrides(instruction=ASKED)))])
    store.close()
    shown = run("traces", "show", "r1", "--json", "--traces-url", url)
    assert json.loads(shown.stdout)["parameters"]["instruction"] == ASKED
    run("traces", "replay", "mini", "--json", "--traces-url", url)
    assert set(seen) == {ASKED}
