"""A judged collection: queries, documents, grades and the candidates of a first stage. Reads BEIR folders."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset_checks import (
    check_judged_documents,
    own_document_notice,
    unranked_notice,
    without_own_documents,
)
from rerankd.evaluation.first_stage import DEPTH, bm25_candidates
from rerankd.evaluation.text_io import json_rows, required_field
from rerankd.evaluation.trec import Qrels, Rankings, read_qrels, read_scores, trec_order

SAMPLE_SEED = 23

Scores = Mapping[str, Mapping[str, float]]
"""Scores by query id and document id, the best document first."""

SearchFunction = Callable[[Mapping[str, str], Mapping[str, str], int], tuple[Scores, str]]
"""Searches documents: takes queries and documents by id and a depth, returns scores and a description for people."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A judged collection.

    Attributes:
        name: name of its folder.
        queries: text of each judged query by id, in a fixed order; empty texts if the folder has none.
        documents: text of each document that occurs, by id, the title first as BEIR reads it.
        qrels: grades by query id and document id.
        candidates: document ids that the first stage returned, by query id, best first; queries without any are left
            out.
        first_stage: origin of the candidates, for people.
        generated_candidates: True if there was no run and the candidates come from BM25 in memory.
        scores: scores of the candidates by the first stage; empty if only their order is known.
        notices: sentences for people on data that do not fit together.
    """

    name: str
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    qrels: Qrels
    candidates: Rankings
    first_stage: str
    generated_candidates: bool = False
    scores: Scores = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def candidate_recall(self) -> float:
        """Recall of the candidates, mean over queries: the upper bound of the recall of any reranking."""
        recalls = []
        for query_id in self.queries:
            relevant = {doc_id for doc_id, grade in self.qrels[query_id].items() if grade > 0}
            retrieved = relevant.intersection(self.candidates.get(query_id, ()))
            recalls.append(len(retrieved) / len(relevant) if relevant else 0.0)
        return sum(recalls) / max(1, len(recalls))


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """Options of `open_dataset`.

    Attributes:
        candidates: run of the first stage; None for the folder's own, or BM25 in memory.
        qrels: judgements; None for the folder's own.
        max_queries: maximum number of queries, the same sample every time.
        depth: maximum number of candidates per query.
        require_texts: True if documents and queries must be there, because models are to read them.
        require_candidates: True if there must be candidates.
        search: computes the candidates from all documents, even if there is a run.
        include_judged: True to read judged documents that are not candidates too, as training needs them.
    """

    candidates: Path | None = None
    qrels: Path | None = None
    max_queries: int | None = None
    depth: int | None = None
    require_texts: bool = True
    require_candidates: bool = True
    search: SearchFunction | None = None
    include_judged: bool = False


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Candidates with their origin."""

    rankings: Rankings
    origin: str
    scores: Scores = field(default_factory=dict)
    generated: bool = False
    from_run: bool = False


def open_dataset(folder: Path, options: DatasetOptions | None = None, extra: Iterable[Rankings] = ()) -> Dataset:
    """Read a folder with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv` or `qrels/*.tsv`, gzipped or not.

    Args:
        folder: folder in BEIR's layout (Thakur et al. 2021); `candidates.trec` in it is the run of the first stage.
        options: selection of the data.
        extra: further rankings whose documents are read.

    Raises:
        InvalidInputFileError: a file is missing, cannot be read, or does not match the others.
        InvalidRequestError: there are no candidates, and too many documents for BM25 in memory.
        MissingDependencyError: BM25 is needed and the extra `eval` is not installed.
    """
    options = options or DatasetOptions()
    if not folder.is_dir():
        raise InvalidInputFileError(f"{folder} is not a folder.", hint="Pass a folder in BEIR's layout.")
    all_qrels = read_qrels(options.qrels or _qrels_file(folder))
    qrels = _sample(all_qrels, options.max_queries)
    queries = _read_queries(folder, qrels, options.require_texts)
    corpus = _existing(folder, "corpus.jsonl")
    if corpus is None and options.require_texts:
        raise InvalidInputFileError(f"{folder}: corpus.jsonl is missing.", hint="Models need texts to read.")
    first_stage = _read_candidates(folder, options, queries, corpus)
    runs = [*extra, {query_id: first_stage.rankings.get(query_id, ()) for query_id in qrels}]
    notices = [own_document_notice(runs, qrels)]
    runs = [without_own_documents(run, qrels) for run in runs]
    candidates = {query_id: ranking[: options.depth] for query_id, ranking in runs[-1].items() if ranking}
    if first_stage.from_run and not any(first_stage.rankings.get(query_id) for query_id in qrels):
        raise InvalidInputFileError(
            f"{folder}: {first_stage.origin} ranks none of the judged queries.",
            hint="Check that run and judgements use the same query ids.",
        )
    ranked = {doc_id for ranking in candidates.values() for doc_id in ranking}
    ranked |= {doc_id for run in runs[:-1] for query_id in qrels for doc_id in run.get(query_id, ())}
    judged = {doc_id for grades in qrels.values() for doc_id in grades} if options.include_judged else set()
    in_corpus = dict.fromkeys((doc_id for grades in all_qrels.values() for doc_id in grades), False)
    documents = _read_documents(corpus, ranked | judged, in_corpus) if corpus else {}
    notices.append(check_judged_documents(folder, in_corpus) if corpus else unranked_notice(qrels, runs))
    if options.require_texts and (missing := ranked - documents.keys()):
        raise InvalidInputFileError(
            f"{folder}: {counted(len(missing), 'candidate is', 'candidates are')} not in the corpus, "
            f"among them {min(missing)}.",
            hint="Pass the run that was made from this corpus.",
        )
    return Dataset(
        name=folder.resolve().name,
        queries=queries,
        documents=documents,
        qrels={query_id: qrels[query_id] for query_id in queries},
        candidates=candidates,
        first_stage=first_stage.origin,
        generated_candidates=first_stage.generated or not first_stage.origin,
        scores={query_id: first_stage.scores[query_id] for query_id in candidates if query_id in first_stage.scores},
        notices=tuple(filter(None, notices)),
    )


def _read_candidates(
    folder: Path, options: DatasetOptions, queries: Mapping[str, str], corpus: Path | None
) -> _Candidates:
    """Return candidates from the search function, a run, or BM25 in memory, whichever comes first."""
    run_file = options.candidates or _existing(folder, "candidates.trec")
    if options.search is not None:
        documents = _read_documents(corpus, None) if corpus else {}
        scores, origin = options.search(queries, documents, _depth(options, queries, documents))
        return _Candidates({query_id: tuple(hits) for query_id, hits in scores.items()}, origin, scores)
    if run_file is not None:
        scores = read_scores(run_file)
        rankings = {query_id: trec_order(score_of) for query_id, score_of in scores.items()}
        return _Candidates(rankings, run_file.name, scores, from_run=True)
    if not options.require_candidates:
        return _Candidates({}, "")
    documents = _read_documents(corpus, None) if corpus else {}
    if not documents:
        raise InvalidInputFileError(
            f"{folder}: there are no candidates.",
            hint="Pass a run with --candidates, or compare others with --no-first-stage.",
        )
    rankings = bm25_candidates(queries, documents, _depth(options, queries, documents))
    return _Candidates(rankings, f"BM25 in memory over {counted(len(documents), 'document')}", generated=True)


def _depth(options: DatasetOptions, queries: Mapping[str, str], documents: Mapping[str, str]) -> int:
    """Return the number of candidates to compute: one more where queries are documents, which are left out."""
    return (options.depth or DEPTH) + (not queries.keys().isdisjoint(documents))


def _sample(qrels: dict[str, dict[str, int]], limit: int | None) -> dict[str, dict[str, int]]:
    query_ids = sorted(qrels)
    if limit is not None and limit < len(query_ids):
        query_ids = sorted(random.Random(SAMPLE_SEED).sample(query_ids, limit))  # noqa: S311  a sample, no secret
    return {query_id: qrels[query_id] for query_id in query_ids}


def _existing(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _qrels_file(folder: Path) -> Path:
    for name in ("qrels.tsv", "qrels.trec", "qrels.txt", "qrels.jsonl"):
        if (path := _existing(folder, name)) is not None:
            return path
    splits = sorted(path for path in (folder / "qrels").glob("*.tsv*") if path.is_file())
    tests = [path for path in splits if path.name.startswith("test.")]
    if len(candidates := tests or splits) == 1:
        return candidates[0]
    if splits:
        names = ", ".join(path.name for path in splits)
        raise InvalidInputFileError(f"{folder / 'qrels'} holds {names}.", hint="Say which with --qrels.")
    raise InvalidInputFileError(f"{folder}: qrels.tsv is missing.", hint="Add judgements, or name them with --qrels.")


def _read_queries(folder: Path, qrels: Qrels, required: bool) -> dict[str, str]:
    path = _existing(folder, "queries.jsonl")
    if path is None:
        if required:
            raise InvalidInputFileError(f"{folder}: queries.jsonl is missing.", hint="Models need texts to read.")
        return dict.fromkeys(qrels, "")
    texts: dict[str, str] = {}
    for location, row in json_rows(path):
        query_id = required_field(row, ("_id", "id"), location)
        text = required_field(row, ("text",), location)
        if texts.setdefault(query_id, text) != text and query_id in qrels:
            raise InvalidInputFileError(
                f"{location}: query {query_id} is there twice, with another text.", hint="Give each query its own id."
            )
    if missing := [query_id for query_id in qrels if query_id not in texts]:
        raise InvalidInputFileError(
            f"{path}: {counted(len(missing), 'judged query is', 'judged queries are')} not there, "
            f"among them {missing[0]}.",
            hint="Pass the queries that the judgements were made for.",
        )
    return {query_id: texts[query_id] for query_id in qrels}


def _read_documents(path: Path, doc_ids: set[str] | None, in_corpus: dict[str, bool] | None = None) -> dict[str, str]:
    """Return the text of each document by id; of all documents if `doc_ids` is None.

    The keys of `in_corpus` that occur are set to True.
    """
    documents: dict[str, str] = {}
    in_corpus = in_corpus or {}
    for location, row in json_rows(path):
        doc_id = required_field(row, ("_id", "id"), location)
        if doc_id in in_corpus:
            in_corpus[doc_id] = True
        if doc_ids is not None and doc_id not in doc_ids:
            continue
        if doc_id in documents:
            raise InvalidInputFileError(
                f"{location}: document {doc_id} is there twice.", hint="Give each document its own id."
            )
        documents[doc_id] = f"{row.get('title') or ''} {required_field(row, ('text',), location)}".strip()
    return documents


def check_file_count(folders: int, files: int, flag: str) -> None:
    """Raise `InvalidRequestError` unless there is one file for each folder, or none."""
    if files not in (0, folders):
        raise InvalidRequestError(
            f"{flag} is given {files} times for {folders} data folders.", hint=f"Give {flag} once for each --data."
        )
