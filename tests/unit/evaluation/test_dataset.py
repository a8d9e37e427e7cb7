from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import DatasetOptions, check_file_count, open_dataset
from rerankd.evaluation.first_stage import bm25_candidates
from tests.unit.evaluation.folders import CANDIDATES, QUERIES, write_folder


def test_a_folder(tmp_path: Path) -> None:
    dataset = open_dataset(write_folder(tmp_path / "tiny"))
    assert (dataset.name, dataset.first_stage) == ("tiny", "candidates.trec")
    assert not dataset.generated_candidates
    assert dataset.queries == QUERIES
    assert dataset.candidates == CANDIDATES
    assert dataset.documents["d1"] == "熊猫 大熊猫主要吃竹子。"
    assert dataset.documents["d2"] == "Paris is the capital of France."
    assert dataset.candidate_recall == 1.0


def test_gzipped_files_and_splits(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny")
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    plain = open_dataset(folder)
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv.gz").rename(folder / "qrels" / "dev.tsv.gz")
    assert open_dataset(folder) == plain
    (folder / "qrels" / "train.tsv").write_text("q1\td1\t1\n")
    with pytest.raises(InvalidInputFileError, match="holds dev.tsv.gz, train.tsv. Say which with --qrels"):
        open_dataset(folder)
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    assert list(open_dataset(folder).queries) == ["q1"]
    assert open_dataset(folder, DatasetOptions(qrels=folder / "qrels" / "dev.tsv.gz")) == plain


def test_samples_are_the_same_and_depth_cuts(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny")
    dataset = open_dataset(folder, DatasetOptions(max_queries=2, depth=1))
    assert dataset == open_dataset(folder, DatasetOptions(max_queries=2, depth=1))
    assert len(dataset.queries) == 2
    assert {len(ranking) for ranking in dataset.candidates.values()} == {1}
    assert set(dataset.documents) == {ranking[0] for ranking in dataset.candidates.values()}


def test_without_candidates_there_is_bm25(tmp_path: Path) -> None:
    dataset = open_dataset(write_folder(tmp_path / "tiny", candidates=False))
    assert dataset.first_stage == "BM25 in memory over 6 documents"
    assert dataset.generated_candidates
    assert dataset.candidates["q2"][:2] == ("d2", "d4")
    assert "d3" not in dataset.candidates["q1"]
    assert open_dataset(tmp_path / "tiny", DatasetOptions(require_candidates=False)).candidates == {}
    with pytest.raises(InvalidRequestError, match="too many for BM25 in memory. Pass the run"):
        bm25_candidates(dict.fromkeys(map(str, range(10_000)), "q"), dict.fromkeys(map(str, range(10_000)), "d"))


def test_runs_can_be_compared_without_texts(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny")
    (folder / "corpus.jsonl").unlink()
    (folder / "queries.jsonl").unlink()
    assert open_dataset(folder, DatasetOptions(require_texts=False)).queries == dict.fromkeys(QUERIES, "")
    (folder / "candidates.trec").unlink()
    with pytest.raises(
        InvalidInputFileError, match="no candidates. Pass a run with --candidates, or .* --no-first-stage"
    ):
        open_dataset(folder, DatasetOptions(require_texts=False))
    with pytest.raises(InvalidInputFileError, match="queries.jsonl is missing"):
        open_dataset(folder)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny")
    with pytest.raises(InvalidInputFileError, match="is not a folder"):
        open_dataset(tmp_path / "gone")
    other = tmp_path / "other.trec"
    other.write_text("x Q0 d1 1 1 r\n")
    with pytest.raises(InvalidInputFileError, match="ranks none of the judged queries"):
        open_dataset(folder, DatasetOptions(other))
    other.write_text("q1 Q0 d99 1 1 r\n")
    with pytest.raises(InvalidInputFileError, match="1 candidate is not in the corpus, among them d99"):
        open_dataset(folder, DatasetOptions(other))
    corpus = folder / "corpus.jsonl"
    content = corpus.read_text()
    corpus.write_text(content + "\n" + json.dumps({"_id": "d1", "text": "again"}))
    with pytest.raises(InvalidInputFileError, match="document d1 is there twice"):
        open_dataset(folder)
    corpus.write_text(content + "\n{")
    with pytest.raises(InvalidInputFileError, match="line 7: not JSON"):
        open_dataset(folder)
    corpus.write_text(content + '\n["list"]')
    with pytest.raises(InvalidInputFileError, match="line 7: a list"):
        open_dataset(folder)
    corpus.write_text('{"_id": "d1"}\n')
    with pytest.raises(InvalidInputFileError, match="line 1: no 'text'"):
        open_dataset(folder)
    corpus.write_text(content)
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "one"}\n')
    with pytest.raises(InvalidInputFileError, match="2 judged queries are not there, among them q2"):
        open_dataset(folder)
    (folder / "qrels.tsv").unlink()
    with pytest.raises(InvalidInputFileError, match="qrels.tsv is missing"):
        open_dataset(folder)
    with pytest.raises(InvalidRequestError, match="--candidates is given 2 times for 3 data folders"):
        check_file_count(3, 2, "--candidates")


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("queries.jsonl", '{"_id": "q1", "text": "another"}', "line 4: query q1 is there twice, with another text"),
        ("corpus.jsonl", '{"_id": "d7", "text": ["a", "b"]}', ""),
        ("corpus.jsonl", '{"_id": {"x": 1}, "text": "a"}', "line 7: '_id' is a dict"),
        ("queries.jsonl", '{"_id": "q9", "text": ["a"]}', "line 4: 'text' is a list"),
        ("corpus.jsonl", '{"_id": ' + "[" * 100_000, "line 7: not JSON .*nested too deep"),
    ],
)
def test_a_line_that_would_be_taken_for_another_is_refused(tmp_path: Path, name: str, line: str, says: str) -> None:
    folder = write_folder(tmp_path / "tiny")
    with (folder / name).open("a") as file:
        file.write(f"\n{line}")
    if not says:  # nobody reads this document
        open_dataset(folder)
        return
    with pytest.raises(InvalidInputFileError, match=says):
        open_dataset(folder)


def test_a_query_may_be_repeated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny")
    with (folder / "queries.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"_id": "q1", "text": QUERIES["q1"]}))
    assert open_dataset(folder).queries == QUERIES
