"""The gate as CI calls it: exit codes, a signed record, and the same model refused against itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.program import rerankd

ANIMALS = ("panda", "camel", "whale", "eagle", "otter", "zebra", "tiger", "koala", "sloth", "moose", "gecko", "raven")
KEY = "a key of many characters"


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    folder.mkdir()
    corpus = [
        {"_id": name, "title": "", "text": f"The {name} is an animal; this passage is about it."} for name in ANIMALS
    ]
    queries = [{"_id": f"q-{name}", "text": f"tell me about the {name}"} for name in ANIMALS]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("".join(f"q-{name}\t{name}\t1\n" for name in ANIMALS))
    lines = [f"q-{name} Q0 {other} {i} {20 - i} run\n" for name in ANIMALS for i, other in enumerate(ANIMALS)]
    (folder / "candidates.trec").write_text("".join(lines))
    return folder


def command(*arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    return rerankd(*arguments, env={"RERANKD_GATE_KEY": key})


def test_a_model_gains_nothing_on_itself(domain: Path, compiled: dict[str, Path], tmp_path: Path) -> None:
    record = tmp_path / "decision.json"
    completed = command("gate", "mini", "--against", "mini", "--domain", str(domain), "--out", str(record), "--json")
    assert completed.returncode == 9, completed.stderr
    decision = json.loads(completed.stdout)
    failed = [check["name"] for check in decision["checks"] if not check["passed"]]
    assert "gain on animals" in failed
    assert set(failed) <= {"gain on animals", "latency"}
    assert json.loads(record.read_text()) == decision
    checked = command("verify-gate", str(record))
    assert checked.returncode == 9
    assert "signature is valid" in checked.stderr
    assert "NOT valid" in command("verify-gate", str(record), key="another key of many characters").stderr


def test_a_model_that_is_better_passes(domain: Path, compiled: dict[str, Path], tmp_path: Path) -> None:
    """Random weights are the champion, so that there is something to gain; what it costs is not asked."""
    record = tmp_path / "decision.json"
    limits = ("--latency", "1000", "--size", "1000000")
    completed = command(
        "gate", "mini", "--against", str(compiled["fp32"]), "--domain", str(domain), "--out", str(record), *limits
    )
    decision = json.loads(record.read_text())
    failed = [check["name"] for check in decision["checks"] if not check["passed"]]
    assert set(failed) <= {"calibration"}
    assert completed.returncode == (9 if failed else 0)
    assert decision["champion"] != decision["candidate"]


def test_what_is_missing_is_said(domain: Path) -> None:
    assert "--domain" in command("gate", "mini").stderr
    bad = command("gate", "./nowhere", "--domain", str(domain))
    assert bad.returncode == 3
    assert "Traceback" not in bad.stderr
