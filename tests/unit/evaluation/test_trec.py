from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.measures import measure_queries
from rerankd.evaluation.trec import decreasing_scores, read_qrels, read_run, trec_order, write_run

GZIPPED = gzip.compress(b"".join(b"q Q0 d%d 1 2 run\n" % n for n in range(99)), mtime=0)


def test_qrels_of_every_kind_say_the_same(tmp_path: Path) -> None:
    expected = {"q1": {"d1": 1, "d2": 0}, "q2": {"d 3": 2}}
    (tmp_path / "beir.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td 3\t2\n")
    (tmp_path / "bare.tsv").write_text("q1\td1\t1.0\r\nq1\td2\t0\r\nq2\td 3\t2\r\n")
    (tmp_path / "rows.jsonl").write_text(
        '{"query_id": "q1", "doc_id": "d1", "relevance": 1}\n{"query-id": "q1", "corpus-id": "d2", "score": 0}\n'
        '{"qid": "q2", "docno": "d 3", "grade": 2}\n'
    )
    for name in ("beir.tsv", "bare.tsv", "rows.jsonl"):
        assert read_qrels(tmp_path / name) == expected
    (tmp_path / "trec.txt").write_bytes(gzip.compress(b"q1 0 d1 1\nq1 0 d2 -1\n"))
    assert read_qrels(tmp_path / "trec.txt") == {"q1": {"d1": 1, "d2": -1}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no judgements"),
        ("q1 d1\n", "line 1: 2 columns"),
        ("q1\td1\t1\nq1\td2\thigh\n", "line 2: the grade is 'high'"),
        ("q1\td1\t0.5\n", "the grade is '0.5'"),
        ("q1\td1\t1\nq1\td2\t1\nq1\td1\t0\n", "line 3: document d1 has another grade for query q1 before"),
    ],
)
def test_qrels_that_are_none(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text(text)
    with pytest.raises(InvalidInputFileError, match=sentence):
        read_qrels(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "holds no ranking"),
        (b"q Q0 d 1\n", "line 1: 4 columns"),
        (b"q Q0 d 1 much run\n", "the score is 'much'"),
        (b"q Q0 d 1 nan run\n", "the score is 'nan'"),
        (b"q Q0 d 1 2 run\nq Q0 d 2 1 run\n", "line 2: document d occurs twice for query q"),
        (b"q Q0 \xff 1 2 run\n", "line 1: not UTF-8"),
        (GZIPPED[:-9], "cannot be read"),
        (GZIPPED[:30] + b"\xff\x00" * 40, "cannot be read"),
    ],
)
def test_runs_that_are_none(tmp_path: Path, text: bytes, sentence: str) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(text)
    with pytest.raises(InvalidInputFileError, match=sentence):
        read_run(path)
    with pytest.raises(InvalidInputFileError, match="No such file"):
        read_run(tmp_path / "gone.trec")


def test_the_rank_column_is_ignored_and_ties_go_by_id_descending(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q Q0 a 1 5 x\nq Q0 c 9 5 x\nq Q0 b 2 7 x\nq Q0 B 3 5.00000000001 x\n")
    assert read_run(path) == {"q": ("b", "c", "a", "B")}
    rows = tmp_path / "run.jsonl"
    rows.write_text('{"query_id": "q", "doc_id": "a", "score": 1}\n{"query_id": "q", "doc_id": "b", "score": 1}\n')
    assert read_run(rows) == {"q": ("b", "a")}


def test_ties_rank_as_trec_eval_ranks_them() -> None:
    import pytrec_eval

    draw = random.Random(3)
    for _ in range(60):
        documents = [f"{draw.choice(['d', 'D', '文', 'é'])}{n}" for n in range(12)]
        run = {"q": {name: draw.choice([1.0, 2.0, 2.0 + 1e-9, 3.0]) for name in documents}}
        qrels = {"q": {name: draw.choice([0, 0, 1, 2]) for name in documents}}
        names = {"ndcg_cut_10": "nDCG@10", "P_1": "P@1", "recall_5": "R@5", "map": "AP"}
        theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "P.1", "recall.5", "map"}).evaluate(run)["q"]
        ours = measure_queries(list(names.values()), qrels, {"q": trec_order(run["q"])}, ["q"])[0]
        assert ours.tolist() == pytest.approx([theirs[name] for name in names], abs=1e-12)


def test_a_run_that_was_written_reads_as_it_was(tmp_path: Path) -> None:
    rankings = {"q1": ("b", "文", "a"), "q2": ("c",)}
    write_run(tmp_path / "run.trec", rankings, "my model")
    assert read_run(tmp_path / "run.trec") == rankings
    assert (tmp_path / "run.trec").read_text().splitlines()[0] == "q1 Q0 b 1 3 my_model"
    scores = list(decreasing_scores(rankings["q1"]).values())
    assert scores == sorted(set(scores), reverse=True)
    with pytest.raises(InvalidRequestError, match="without spaces"):
        write_run(tmp_path / "run.trec", {"q": ("a b",)}, "x")
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        write_run(tmp_path / "gone" / "run.trec", rankings, "x")


def test_a_judgement_may_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("q1\td1\t1\nq1\td1\t1.0\n")
    assert read_qrels(tmp_path / "qrels.tsv") == {"q1": {"d1": 1}}
