"""The program as people start it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rerankd.cli.main import main
from rerankd.demo import load_traps
from tests.program import rerankd

PROGRAM = [sys.executable, "-m", "rerankd"]


def run(*arguments: str, stdin: bytes = b"", **environment: str) -> tuple[int, list[Any], str]:
    """Exit code, parsed JSON lines, standard error."""
    completed = rerankd(*arguments, stdin=stdin, env=environment)
    rows = [json.loads(line) for line in completed.stdout.splitlines() if line.startswith("{")]
    return completed.returncode, rows, completed.stderr


@pytest.fixture
def documents(tmp_path: Path, texts: list[str]) -> str:
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(texts))
    return str(path)


def test_rank_writes_json_lines_when_piped(documents: str, texts: list[str]) -> None:
    code, rows, errors = run("rank", "What is Apple's newest phone?", documents, "--top-n", "3")
    assert (code, len(rows), errors) == (0, 3, "")
    assert [row["rank_after"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["text"] == texts[row["index"]]
        assert 0 <= row["relevance_score"] <= 1
    _, raw, _ = run("rank", "What is Apple's newest phone?", documents, "--top-n", "3", "--no-activation")
    assert [row["relevance_score"] for row in raw] == [row["raw_score"] for row in rows]


def test_as_a_process_of_its_own() -> None:
    def process(*arguments: str, stdin: str) -> tuple[int, str, str]:
        completed = subprocess.run(
            [*PROGRAM, *arguments], input=stdin, capture_output=True, text=True, timeout=240, check=False
        )
        return completed.returncode, completed.stdout, completed.stderr

    code, out, errors = process("rank", "熊猫吃什么?", "-", stdin="竹子\n汽车\n")
    assert (code, len(out.splitlines()), errors) == (0, 2, "")
    assert json.loads(out.splitlines()[0])["rank_after"] == 1
    code, out, errors = process("rank", "", "-", stdin="汽车\n")
    assert (code, out) == (2, "")
    assert errors.startswith("Error: The query is empty.")


def test_rank_reads_standard_input_and_settings() -> None:
    code, rows, _ = run("rank", "熊猫吃什么?", "-", stdin="竹子\n汽车\n银行\n".encode(), RERANKD_TOP_N="2")
    assert (code, len(rows)) == (0, 2)
    code, rows, _ = run("rank", "熊猫吃什么?", "-", "--all", stdin="竹子\n汽车\n银行\n".encode(), RERANKD_TOP_N="2")
    assert (code, len(rows)) == (0, 3)


def test_rank_draws_a_table_on_a_terminal(documents: str) -> None:
    leader, follower = pty.openpty()
    env = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen([*PROGRAM, "rank", "苹果", documents], stdout=follower, stderr=follower, env=env)
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait(timeout=60) == 0
    os.close(leader)
    text = seen.decode()
    assert "before" in text
    assert "█" in text or "░" in text
    assert "documents" in text


def test_score_keeps_order(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("what is a panda?\tA bear from China.\n什么是熊猫?\t汽车\n")
    code, rows, _ = run("score", str(path))
    assert code == 0
    assert [row["document"] for row in rows] == ["A bear from China.", "汽车"]


def test_demo_counts_what_the_model_says() -> None:
    code, rows, _ = run("demo", "--json")
    assert code == 0
    traps = [row for row in rows if "trap" in row]
    assert len(traps) == len(load_traps())
    for row in traps:
        order = sorted(range(len(row["scores"])), key=lambda i: -row["scores"][i])
        assert row["after"][0] == order[0]
        assert row["solved"] == (order[0] == row["trap"]["answer"])
        assert row["fooled"]
    completed = rerankd("demo")
    assert completed.returncode == 0
    solved = sum(row["solved"] for row in traps)
    assert f"Traps solved: {solved} of {len(traps)}" in completed.stdout
    assert "1. Basic scores" in completed.stdout


def test_demo_runs_any_model(compiled: dict[str, Path]) -> None:
    code, rows, _ = run("demo", "--json", "--model", str(compiled["int8"]))
    assert (code, len(rows)) == (0, 24)


def test_models(tmp_path: Path, checkpoint: Path) -> None:
    code, rows, _ = run("models", "list")
    assert code == 0
    assert rows[0]["name"] == "mini"
    assert rows[0]["bytes"] <= 30_000_000
    code, rows, _ = run("models", "show", "mini")
    assert rows[0]["manifest"]["files"]["model.onnx"]
    completed = rerankd("models", "verify", "mini")
    assert "files match their SHA-256" in completed.stdout
    out = str(tmp_path / "out")
    code, rows, errors = run("models", "compile", str(checkpoint), "--precision", "fp32", "--out", out)
    assert code == 0, errors
    assert rows[0]["passed"] is True
    assert "Scoring with the compiled model" in errors
    assert run("models", "compile", str(checkpoint), "--precision", "fp32", "--out", out)[0] == 2
    assert run("models", "compile", str(checkpoint), "--precision", "int8", "--out", out, "--force",
               "--min-kendall-tau", "1")[0] == 5  # fmt: skip
    assert (Path(out) / "model.onnx").is_file(), "the old model is still there"
    with (Path(out) / "model.onnx").open("ab") as file:
        file.write(b"x")
    code, _, errors = run("models", "verify", out)
    assert (code, "SHA-256 differs" in errors) == (3, True)


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    code, rows, _ = run("doctor", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="")
    checks = {row["name"]: row for row in rows}
    assert code == 0
    assert checks["model"]["ok"] is True
    assert "onnx on cpu" in checks["backend"]["value"]
    assert "not reachable" in checks["hub"]["value"]
    assert "HF_ENDPOINT" in checks["hub"]["advice"]
    assert "usable" in checks["cores"]["value"]
    assert run("doctor", "--model", "./gone", HF_HUB_OFFLINE="1")[0] == 1


def test_bench(tmp_path: Path) -> None:
    code, rows, _ = run("bench", "--requests", "2", "--documents", "4")
    assert code == 0
    assert rows[0]["pairs_per_second"] > 0
    assert rows[0]["tokens_per_second"] > rows[0]["pairs_per_second"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["rank", "", "-"], 2, "Error: The query is empty."),
        (["rank", "q", "/no/such/file"], 2, "cannot be read"),
        (["rank", "q", "-", "--top-n", "0"], 2, "--top-n"),
        (["rank", "q", "-", "--model", "./gone"], 3, "This folder does not exist: './gone'"),
        (["rank", "q", "-", "--precision", "int4"], 2, "Setting precision"),
        (["rank", "q", "-", "--max-length", "99999"], 2, "reads at most 512 tokens"),
        (["rank", "q", "-", "--long-documents", "drop"], 2, "Setting long_documents"),
        (["models", "compile", "mini", "--out", "/tmp/never"], 2, "mini is compiled already"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, sentence: str) -> None:
    exit_code, rows, errors = run(*arguments, stdin=b"document\n")
    assert (exit_code, rows) == (code, [])
    assert sentence in errors
    assert "Traceback" not in errors


def test_error_is_printed_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rerankd", "rank", "q", "/gone[bold].txt"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "/gone[bold].txt" in capsys.readouterr().err


def test_completion_and_version() -> None:
    completed = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert completed.stdout.startswith("rerankd 0.")
    shell = shutil.which("rerankd", path=str(Path(sys.executable).parent))
    assert shell
    completed = subprocess.run(
        [shell], env={**os.environ, "_RERANKD_COMPLETE": "source_bash"}, capture_output=True, text=True, check=False
    )
    assert "complete" in completed.stdout
