"""`rerankd eval` and `rerankd calibrate` as people start them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rerankd.evaluation.trec import read_run
from tests.e2e.test_cli import run
from tests.unit.evaluation.folders import CANDIDATES, DOCUMENTS, QRELS, QUERIES, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tiny")


def test_eval_says_what_reranking_did(folder: Path, tmp_path: Path) -> None:
    report, runs = tmp_path / "report.html", tmp_path / "runs"
    code, rows, errors = run("eval", "--data", str(folder), "--html", str(report), "--save-runs", str(runs))
    assert code == 0, errors
    first, mini = rows
    assert (first["system"], mini["system"]) == ("first-stage", "mini")
    assert set(mini["measures"]) == {"nDCG@10", "RR@10", "AP", "R@10", "P@1", "Judged@10"}
    assert first["measures"]["P@1"]["mean"] == pytest.approx(1 / 3)
    compared = mini["comparison"]
    assert compared["wins"] + compared["ties"] + compared["losses"] == 3
    assert mini["latency"]["requests"] == 3
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert read_run(runs / "tiny" / "first-stage.trec") == CANDIDATES
    reranked = read_run(runs / "tiny" / "mini.trec")
    assert {query: sorted(candidates) for query, candidates in reranked.items()} == {
        query: sorted(candidates) for query, candidates in CANDIDATES.items()
    }
    right = sum(ranking[0] in QRELS[query] for query, ranking in reranked.items())
    assert mini["measures"]["P@1"]["mean"] == pytest.approx(right / 3)
    code, again, _ = run("eval", "--data", str(folder), "--runs", str(runs))
    assert code == 0
    assert [row["measures"] for row in again] == [row["measures"] for row in rows]
    assert "latency" not in again[1]


def test_eval_of_several_folders_models_and_runs(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", candidates=False)
    code, rows, errors = run("eval", "--data", str(folder), "--data", str(other), "--models", "mini,mini",
                             "--measures", "RR@10,P@1", "--baseline", "mini", "--cases", "1")  # fmt: skip
    assert code == 0, errors
    assert [(row["dataset"], row["system"]) for row in rows] == [
        (name, system) for name in ("tiny", "other") for system in ("first-stage", "mini", "mini (2)")
    ]
    assert "other: no candidates.trec; first stage: BM25 in memory over 6 documents." in " ".join(errors.split())
    twins = [row["comparison"] for row in rows if row["system"] == "mini (2)"]
    assert all((twin["ties"], twin["p_holm"], twin["verdict"]) == (3, 1.0, "no difference shown") for twin in twins)
    assert rows[0]["comparison"]["baseline"] == "mini"


def test_eval_of_runs_needs_no_texts(folder: Path, tmp_path: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / name).unlink()
    after = tmp_path / "after.trec"
    after.write_text("q1 Q0 d1 1 2 x\nq1 Q0 d5 2 1 x\nq2 Q0 d2 1 1 x\nq3 Q0 d2 1 1 x\n")
    code, rows, errors = run("eval", "--data", str(folder), "--runs", str(after))
    assert code == 0, errors
    assert (rows[1]["system"], rows[1]["comparison"]["wins"], rows[1]["comparison"]["losses"]) == ("after", 2, 1)


def test_eval_draws_tables_on_a_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rerankd.cli import evaluate

    monkeypatch.setattr(evaluate, "wants_json", lambda flag: flag)
    monkeypatch.setenv("COLUMNS", "160")
    evaluate.evaluate_command([folder], models="mini")
    shown = capsys.readouterr().out
    for part in ("Measures", "nDCG@10 against first-stage", "Best and worst queries", "p95 ms", "no difference shown"):
        assert part in shown


def test_fail_below_is_for_gates(folder: Path, tmp_path: Path) -> None:
    worse = tmp_path / "worse.trec"
    worse.write_text("".join(f"{query} Q0 d4 1 1 x\n" for query in QUERIES))
    arguments = ("eval", "--data", str(folder), "--runs", str(worse), "--fail-below")
    code, rows, errors = run(*arguments, "-0.005")
    assert (code, len(rows)) == (9, 2)
    assert "Below -0.005: worse against first-stage on tiny: nDCG@10 -" in errors
    assert run(*arguments, "-1")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--data", "/no/such"], 2, "is not a folder"),
        (["--measures", "nDCG@10,magic"], 2, "Unknown measure 'magic'"),
        (["--baseline", "gpt"], 2, "no run 'gpt'"),
        (["--models", "./gone"], 3, "does not exist"),
        (["--runs", "./gone.trec"], 2, "gone.trec cannot be read"),
        (["--candidates", "a", "--candidates", "b"], 2, "--candidates is given 2 times for 1 data folders"),
        (["--html", "/no/such/report.html"], 2, "cannot be written"),
    ],
)
def test_mistakes_are_sentences(folder: Path, arguments: list[str], code: int, sentence: str) -> None:
    data = [] if arguments[0] == "--data" else ["--data", str(folder)]
    exit_code, _, errors = run("eval", *data, *arguments)
    assert exit_code == code
    assert sentence in errors
    assert "Traceback" not in errors


def labelled_pairs(path: Path) -> Path:
    rows = []
    for number in range(12):
        for query, grades in QRELS.items():
            for name in CANDIDATES[query]:
                text = DOCUMENTS[name][1]
                rows.append({"query": f"{QUERIES[query]} {number}", "document": text, "label": int(name in grades)})
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def test_calibrate_writes_a_model_that_ranks_the_same(tmp_path: Path) -> None:
    out, report = tmp_path / "calibrated", tmp_path / "report.html"
    pairs = labelled_pairs(tmp_path / "pairs.jsonl")
    code, rows, errors = run(
        "calibrate", "--data", str(pairs), "--model", "mini", "--out", str(out), "--html", str(report)
    )
    assert code == 0, errors
    assert rows[0]["platt"]["scale"] > 0
    assert rows[0]["before"]["pairs"] == 96
    assert 0 < rows[0]["after"]["brier"]["mean"] < 0.25
    assert "Calibrated model" in errors
    assert "Reliability" in report.read_text(encoding="utf-8")
    documents = tmp_path / "documents.txt"
    documents.write_text("\n".join(text for _, text in DOCUMENTS.values()))
    before, after = (run("rank", "熊猫吃什么?", str(documents), "--model", name)[1] for name in ("mini", str(out)))
    assert [row["index"] for row in after] == [row["index"] for row in before]
    for one, other in zip(before, after, strict=True):
        expected = rows[0]["platt"]["scale"] * one["raw_score"] + rows[0]["platt"]["offset"]
        assert other["raw_score"] == pytest.approx(expected, abs=1e-4)
    assert run("calibrate", "--data", str(pairs), "--out", str(out))[0] == 2
    _, shown, _ = run("models", "show", str(out))
    assert shown[0]["manifest"]["calibration"]["pairs"] == 96


def test_calibrate_draws_a_diagram(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rerankd.cli import calibrate

    monkeypatch.setattr(calibrate, "wants_json", lambda flag: flag)
    monkeypatch.setenv("COLUMNS", "120")
    calibrate.calibrate_command([labelled_pairs(tmp_path / "pairs.jsonl")], balanced=True)
    shown = capsys.readouterr().out
    assert "probability = sigmoid(" in shown
    assert "calibrated: ECE" in shown
    assert "█" in shown


def test_calibrate_needs_enough(folder: Path) -> None:
    code, _, errors = run("calibrate", "--data", str(folder))
    assert code == 2
    assert "at least 10 queries; there are 3" in errors
