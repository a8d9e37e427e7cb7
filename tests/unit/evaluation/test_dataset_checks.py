"""Collections whose parts do not fit together: what is left out is left out as BEIR does, and said."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rerankd import Reranker
from rerankd.errors import InvalidInputFileError
from rerankd.evaluation.dataset import DatasetOptions, open_dataset
from rerankd.evaluation.evaluation import evaluate
from rerankd.evaluation.report.report import render_report
from rerankd.evaluation.run import external_run, first_stage_run, rerank_dataset
from rerankd.evaluation.summary import result_rows
from rerankd.training.examples import read_examples
from tests.program import rerankd

ARGUMENTS = {"a1": "pandas should eat bamboo", "a2": "pandas should not eat bamboo", "a3": "cars need wheels"}


def write(
    folder: Path,
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    candidates: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    folder.mkdir()
    for name, texts in (("queries", queries), ("corpus", corpus)):
        rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    lines = [f"{query}\t{doc}\t{grade}\n" for query, grades in qrels.items() for doc, grade in grades.items()]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    if candidates is not None:
        write_run(folder / "candidates.trec", candidates)
    return folder


def write_run(path: Path, rankings: Mapping[str, Sequence[str]]) -> None:
    lines = [f"{q} Q0 {doc} {at} {-at} run\n" for q, ranking in rankings.items() for at, doc in enumerate(ranking, 1)]
    path.write_text("".join(lines))


# -- queries without candidates


@pytest.mark.parametrize("query", ["zebra", "???", "   x", "斑马"])
def test_a_query_without_candidates_counts_zero(tmp_path: Path, query: str) -> None:
    folder = write(tmp_path / "set", {"q1": query}, {"d1": "pandas eat bamboo"}, {"q1": {"d1": 1}})
    dataset = open_dataset(folder)
    assert dataset.candidates == {}
    run = rerank_dataset("mini", Reranker("mini"), dataset)
    assert (run.latency, run.rankings) == (None, {})
    evaluation = evaluate([(dataset, [first_stage_run(dataset), run])], ["nDCG@10", "RR"])
    for row in result_rows(evaluation):
        assert (row["measures"]["nDCG@10"]["mean"], row["without_candidates"]) == (0.0, 1)
    assert "No query has candidates" in render_report(evaluation)


def test_search_that_finds_nothing_is_no_wrong_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", {"q1": "zebra"}, {"d1": "pandas"}, {"q1": {"d1": 1}})
    options = DatasetOptions(search=lambda queries, documents, depth: ({query_id: {} for query_id in queries}, "index"))
    assert open_dataset(folder, options).candidates == {}


def test_a_run_without_the_judged_queries_is_refused_and_one_with_some_is_not(tmp_path: Path) -> None:
    queries = {"q1": "pandas", "q2": "cars"}
    folder = write(tmp_path / "set", queries, ARGUMENTS, {"q1": {"a1": 1}, "q2": {"a3": 1}}, {"q1": ["a1"]})
    assert open_dataset(folder).candidates == {"q1": ("a1",)}
    write_run(folder / "candidates.trec", {"q9": ["a1"]})
    with pytest.raises(InvalidInputFileError, match="ranks none of the judged queries"):
        open_dataset(folder)


# -- judgements of documents that the corpus does not have


@pytest.mark.parametrize("candidates", [None, {"q1": ["a1"]}])
def test_judgements_of_another_corpus_are_refused(tmp_path: Path, candidates: dict[str, list[str]] | None) -> None:
    folder = write(tmp_path / "set", {"q1": "pandas"}, ARGUMENTS, {"q1": {"x7": 1, "x8": 0}}, candidates)
    with pytest.raises(InvalidInputFileError, match="none of the 2 judged documents is in the corpus, among them x7"):
        open_dataset(folder)


@pytest.mark.parametrize("is_gzipped", [False, True])
def test_judged_documents_that_are_missing_are_counted(tmp_path: Path, is_gzipped: bool) -> None:
    queries = {"q1": "pandas", "q2": "cars"}
    folder = write(tmp_path / "set", queries, ARGUMENTS, {"q1": {"a1": 1, "x": 2}, "q2": {"a3": 1}})
    if is_gzipped:
        (folder / "corpus.jsonl.gz").write_bytes(gzip.compress((folder / "corpus.jsonl").read_bytes()))
        (folder / "corpus.jsonl").unlink()
    for options in (None, DatasetOptions(max_queries=1), DatasetOptions(include_judged=True)):
        (notice,) = open_dataset(folder, options).notices
        assert notice.startswith("1 of 3 judged documents are not in the corpus, among them x;")


def test_without_a_corpus_runs_are_compared_with_the_judgements(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", {"q1": ""}, ARGUMENTS, {"q1": {"x": 1}}, {"q1": ["a1"]})
    (folder / "corpus.jsonl").unlink()
    (notice,) = open_dataset(folder, DatasetOptions(require_texts=False)).notices
    assert notice.startswith("No relevant document is in any ranking")
    assert open_dataset(folder, DatasetOptions(require_texts=False), [{"q1": ("x",)}]).notices == ()


# -- queries that are documents of the corpus


def arguana(folder: Path, candidates: Mapping[str, Sequence[str]] | None = None) -> Path:
    queries = {name: ARGUMENTS[name] for name in ("a1", "a2")}
    return write(folder, queries, ARGUMENTS, {"a1": {"a2": 1}, "a2": {"a1": 1}}, candidates)


@pytest.mark.parametrize("candidates", [None, {"a1": ["a1", "a2"], "a2": ["a1", "a3", "a2"]}])
def test_a_query_is_not_among_its_own_results(tmp_path: Path, candidates: dict[str, list[str]] | None) -> None:
    dataset = open_dataset(arguana(tmp_path / "set", candidates), DatasetOptions(depth=1))
    assert dataset.candidates == {"a1": ("a2",), "a2": ("a1",)}  # the depth counts what is left
    assert dataset.notices == (
        "2 queries are documents of the corpus, by id; a query is left out of its own results, as in BEIR.",
    )


def test_nor_in_a_run_that_is_given(tmp_path: Path) -> None:
    run = {"a1": ("a1", "a2"), "a2": ("a3", "a1")}
    dataset = open_dataset(arguana(tmp_path / "set", {"a1": ["a2"], "a2": ["a1"]}), None, [run])
    assert len(dataset.notices) == 1
    assert external_run("mine", run, dataset).rankings == {"a1": ("a2",), "a2": ("a3", "a1")}


def test_nor_what_an_index_finds(tmp_path: Path) -> None:
    depths = []

    def search(queries: object, documents: Mapping[str, str], depth: int) -> tuple[dict[str, dict[str, float]], str]:
        depths.append(depth)
        return {name: dict.fromkeys((name, *documents), 1.0) for name in ("a1", "a2")}, "index"

    dataset = open_dataset(arguana(tmp_path / "set"), DatasetOptions(search=search, depth=2))
    assert (depths, dataset.candidates) == ([3], {"a1": ("a2", "a3"), "a2": ("a1", "a3")})


def test_nor_is_it_a_negative(tmp_path: Path) -> None:
    folder = arguana(tmp_path / "set", {"a1": ["a1", "a2", "a3"], "a2": ["a2", "a1"]})
    with (folder / "qrels.tsv").open("a") as qrels:
        qrels.write("a1\ta1\t0\n")
    for example in read_examples(folder):
        assert example.query not in (*example.negatives, *example.unjudged, *example.positives)


def test_ids_of_different_things_may_be_equal(tmp_path: Path) -> None:
    queries, answers = {"1": "What do pandas eat?", "2": "What has wheels?"}, {"1": "Bamboo.", "2": "Cars."}
    folder = write(tmp_path / "faq", queries, answers, {"1": {"1": 1}, "2": {"2": 2}}, {"1": ["2", "1"], "2": ["2"]})
    dataset = open_dataset(folder)
    assert (dataset.candidates, dataset.notices) == ({"1": ("2", "1"), "2": ("2",)}, ())
    assert [example.positives for example in read_examples(folder)] == [("Bamboo.",), ("Cars.",)]


def test_the_command_says_what_was_left_out(tmp_path: Path) -> None:
    folder = arguana(tmp_path / "set", {"a1": ["a1", "a2"], "a2": ["a1"]})
    write_run(tmp_path / "mine.trec", {"a1": ["a2"], "a2": ["a1"]})
    shown = rerankd("eval", "--data", str(folder), "--runs", str(tmp_path / "mine.trec"), "--json")
    assert shown.returncode == 0, shown.stderr
    assert "set: 1 query is a document of the corpus" in shown.stderr
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [row["measures"]["nDCG@10"]["mean"] for row in rows] == [1.0, 1.0]
