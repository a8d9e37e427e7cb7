"""A judged collection: queries, documents, grades and the candidates of a first stage. Reads BEIR folders."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.first_stage import DEPTH, keyword_candidates
from rerankd.evaluation.text_io import field as cell
from rerankd.evaluation.text_io import json_rows
from rerankd.evaluation.trec import Qrels, Rankings, order_of, read_qrels, read_scores

SAMPLE_SEED = 23

Scores = Mapping[str, Mapping[str, float]]
"""Scores by query id and document id, the best document first."""

Search = Callable[[Mapping[str, str], Mapping[str, str], int], tuple[Scores, str]]
"""From queries and documents by id, and a depth, to scores, and to where they come from, for people."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One judged collection.

    Attributes:
        name: the folder's.
        queries: texts of the judged queries, in a fixed order; empty texts where the folder holds none.
        documents: texts of the documents that occur, title first as BEIR reads them.
        qrels: grades.
        candidates: what the first stage found, best first; queries that it found nothing for are left out.
        first_stage: where the candidates come from, for people.
        made_up: whether they are a stand-in, because there was no run.
        scores: of the candidates, by the first stage; empty where only their order is known.
    """

    name: str
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    qrels: Qrels
    candidates: Rankings
    first_stage: str
    made_up: bool = False
    scores: Scores = field(default_factory=dict)

    @property
    def ceiling(self) -> float:
        """Share of the relevant documents that are among the candidates, mean over queries: no order finds more."""
        shares = []
        for query in self.queries:
            relevant = {document for document, grade in self.qrels[query].items() if grade > 0}
            found = relevant.intersection(self.candidates.get(query, ()))
            shares.append(len(found) / len(relevant) if relevant else 0.0)
        return sum(shares) / max(1, len(shares))


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What of a folder is read.

    Attributes:
        candidates: run of the first stage; None for the folder's own, or BM25 in memory.
        qrels: judgements; None for the folder's own.
        max_queries: queries at most, the same sample every time.
        depth: candidates of a query at most.
        texts: whether documents must be there, because models are to read them.
        first_stage: whether there must be candidates.
        search: makes the candidates from all documents, whatever run there is.
        judged: whether documents that were judged are read too where they are no candidates, as training needs them.
    """

    candidates: Path | None = None
    qrels: Path | None = None
    max_queries: int | None = None
    depth: int | None = None
    texts: bool = True
    first_stage: bool = True
    search: Search | None = None
    judged: bool = False


def open_dataset(folder: Path, options: DatasetOptions | None = None, extra: Iterable[Rankings] = ()) -> Dataset:
    """Read a folder with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv` or `qrels/*.tsv`, gzipped or not.

    Args:
        folder: in BEIR's layout; `candidates.trec` in it is the first stage's run.
        options: what of it is read.
        extra: further rankings whose documents will be shown.

    Raises:
        InvalidInputFileError: a file is missing, cannot be read, or does not fit the others.
        InvalidRequestError: no candidates, and too many documents for BM25 in memory.
    """
    options = options or DatasetOptions()
    if not folder.is_dir():
        raise InvalidInputFileError(f"{folder} is not a folder.", hint="Pass a folder in BEIR's layout.")
    qrels = _sampled(read_qrels(options.qrels or _qrels_file(folder)), options.max_queries)
    queries = _queries(folder, qrels, options.texts)
    corpus = _existing(folder, "corpus.jsonl")
    if corpus is None and options.texts:
        raise InvalidInputFileError(f"{folder}: corpus.jsonl is missing.", hint="Models need texts to read.")
    run_file = options.candidates or _existing(folder, "candidates.trec")
    scores: Scores = {}
    if options.search is not None:
        scores, source = options.search(queries, _documents(corpus, None) if corpus else {}, options.depth or DEPTH)
        candidates, run_file = {query: tuple(found) for query, found in scores.items()}, Path("search")
    elif run_file is not None:
        scores, source = read_scores(run_file), run_file.name
        candidates = {query: order_of(found) for query, found in scores.items()}
    elif options.first_stage:
        documents = _documents(corpus, None) if corpus else {}
        if not documents:
            raise InvalidInputFileError(
                f"{folder}: there are no candidates.",
                hint="Pass a run with --candidates, or compare others with --no-first-stage.",
            )
        candidates = keyword_candidates(queries, documents, options.depth or DEPTH)
        source = f"BM25 in memory over {len(documents):,} documents"
    else:
        candidates, source = {}, ""
    kept = {q: candidates[q][: options.depth] for q in qrels if candidates.get(q)}
    if run_file is not None and not kept:
        raise InvalidInputFileError(
            f"{run_file} ranks none of the judged queries.",
            hint="Check that run and judgements use the same query ids.",
        )
    wanted = {document for ranking in kept.values() for document in ranking}
    wanted |= {document for run in extra for q in qrels for document in run.get(q, ())}
    judged = {document for grades in qrels.values() for document in grades} if options.judged else set()
    documents = _documents(corpus, wanted | judged) if corpus else {}
    if options.texts and (missing := wanted - documents.keys()):
        raise InvalidInputFileError(
            f"{folder}: {len(missing)} candidates are not in the corpus, among them {min(missing)}.",
            hint="Pass the run that was made from this corpus.",
        )
    return Dataset(
        *(folder.resolve().name, queries, documents, {q: qrels[q] for q in queries}),
        *(kept, source, run_file is None, {query: scores[query] for query in kept if query in scores}),
    )


def _sampled(qrels: dict[str, dict[str, int]], limit: int | None) -> dict[str, dict[str, int]]:
    ids = sorted(qrels)
    if limit is not None and limit < len(ids):
        ids = sorted(random.Random(SAMPLE_SEED).sample(ids, limit))  # noqa: S311  a sample, no secret
    return {query: qrels[query] for query in ids}


def _existing(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _qrels_file(folder: Path) -> Path:
    for name in ("qrels.tsv", "qrels.trec", "qrels.txt", "qrels.jsonl"):
        if (found := _existing(folder, name)) is not None:
            return found
    splits = sorted(path for path in (folder / "qrels").glob("*.tsv*") if path.is_file())
    tests = [path for path in splits if path.name.startswith("test.")]
    if len(chosen := tests or splits) == 1:
        return chosen[0]
    if splits:
        names = ", ".join(path.name for path in splits)
        raise InvalidInputFileError(f"{folder / 'qrels'} holds {names}.", hint="Say which with --qrels.")
    raise InvalidInputFileError(f"{folder}: qrels.tsv is missing.", hint="Add judgements, or name them with --qrels.")


def _queries(folder: Path, qrels: Qrels, needed: bool) -> dict[str, str]:
    path = _existing(folder, "queries.jsonl")
    if path is None:
        if needed:
            raise InvalidInputFileError(f"{folder}: queries.jsonl is missing.", hint="Models need texts to read.")
        return dict.fromkeys(qrels, "")
    texts = {cell(row, ("_id", "id"), place): cell(row, ("text",), place) for place, row in json_rows(path)}
    if missing := [query for query in qrels if query not in texts]:
        raise InvalidInputFileError(
            f"{path}: {len(missing)} judged queries are not there, among them {missing[0]}.",
            hint="Pass the queries that the judgements were made for.",
        )
    return {query: texts[query] for query in qrels}


def _documents(path: Path, wanted: set[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, row in json_rows(path):
        name = cell(row, ("_id", "id"), place)
        if wanted is not None and name not in wanted:
            continue
        if name in found:
            raise InvalidInputFileError(f"{place}: document {name} is there twice.", hint="Give each its own id.")
        found[name] = f"{row.get('title') or ''} {cell(row, ('text',), place)}".strip()
    return found


def check_pairs(folders: int, files: int, flag: str) -> None:
    """Raise `InvalidRequestError` unless there is one file for each folder, or none."""
    if files not in (0, folders):
        raise InvalidRequestError(
            f"{flag} is given {files} times for {folders} data folders.", hint=f"Give {flag} once for each --data."
        )
