"""Versions of the bundled model that read more or less of a document, and what each ranks for the demo's questions."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rerankd.demo.shop import load_questions, load_sections
from rerankd.demo.traps import load_traps
from rerankd.models.files import load_model
from rerankd.models.manifest import write_manifest
from rerankd.reranker import Reranker
from rerankd.retrieval.bm25 import rank_by_bm25
from rerankd.retrieval.keywords import keywords
from rerankd.rules.rule_set import RuleSet
from rerankd.types import Document, RankingRecord

MODEL = "mini"
CANDIDATES = 6


@dataclass(frozen=True, slots=True)
class RankedQuestion:
    """A question with its candidates, ranked by one version.

    Attributes:
        query: the question.
        answer: id of the document that answers it.
        is_about_shop: True for the handbook, False for the other texts.
        record: the ranking.
    """

    query: str
    answer: str
    is_about_shop: bool
    record: RankingRecord


@dataclass(frozen=True)
class DemoModel:
    """A version of the model.

    Attributes:
        questions: what it ranked.
        reranker: the model itself, for what was not ranked yet.
    """

    questions: tuple[RankedQuestion, ...]
    reranker: Reranker

    @functools.cached_property
    def _known(self) -> dict[tuple[str, str], float]:
        return {
            (question.query, document.text): score.raw_score
            for question in self.questions
            for document, score in zip(question.record.request.documents, question.record.scores, strict=True)
        }

    def logits(self, query: str, texts: Sequence[str], instruction: str | None = None) -> list[float]:
        """Return the logits of a query with each text; those that it ranked are not computed again."""
        new = [(query, text) for text in texts if (query, text) not in self._known]
        scores = self.reranker.score(new, activation="none", instruction=instruction).tolist() if new else []
        self._known.update(zip(new, scores, strict=True))
        return [self._known[query, text] for text in texts]


def write_model(folder: Path, name: str, max_length: int) -> Path:
    """Write a copy of the bundled model that reads at most so many tokens of a pair; return its folder."""
    files = load_model(MODEL)
    folder.mkdir(parents=True)
    for file in files.manifest.files:
        try:
            os.link(files.folder / file, folder / file)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(files.folder / file, folder / file)
    write_manifest(folder, dataclasses.replace(files.manifest, name=name, max_length=max_length))
    return folder


def rank_questions(model: Path, rules: RuleSet, threads: int, *, every: int = 1) -> DemoModel:
    """Rank the bundled questions with a version of the model.

    Args:
        model: folder of the version.
        rules: rules of the demo.
        threads: CPU threads; 0 for one per core.
        every: ranks each so many-th question only.
    """
    records: list[RankingRecord] = []
    reranker = Reranker(str(model), rules=rules, recorder=_Collector(records), threads=threads)
    asked = [*_handbook(), *_traps()][::every]
    reranker.rank_batch([query for query, *_ in asked], [documents for *_, documents in asked], None)
    questions = [
        RankedQuestion(query, answer, is_about_shop, record)
        for (query, answer, is_about_shop, _), record in zip(asked, records, strict=True)
    ]
    return DemoModel(tuple(questions), reranker)


class _Collector:
    """Keeps the rankings of a reranker."""

    def __init__(self, records: list[RankingRecord]) -> None:
        self._records = records

    def record(self, ranking: RankingRecord) -> None:
        """Keep a ranking."""
        self._records.append(ranking)


_Asked = tuple[str, str, bool, list[Document]]


def _handbook() -> list[_Asked]:
    """Return the shop's questions, each with the sections that have most of its words."""
    sections = {language: load_sections(language) for language in ("en", "zh")}
    return [
        (question.query, question.answer, True, _most_words(question.query, sections[question.language]))
        for question in load_questions()
    ]


def _traps() -> list[_Asked]:
    """Return the keyword traps, each among its own candidates."""
    asked = []
    for number, trap in enumerate(load_traps()):
        documents = [Document(text, f"web-{number}-{position}") for position, text in enumerate(trap.documents)]
        order = rank_by_bm25(trap.query, trap.documents)
        asked.append((trap.query, f"web-{number}-{trap.answer}", False, [documents[position] for position in order]))
    return asked


def _most_words(query: str, documents: Sequence[Document]) -> list[Document]:
    words = set(keywords(query))

    def count(document: Document) -> int:
        return sum(word in words for word in keywords(document.text))

    return sorted(documents, key=count, reverse=True)[:CANDIDATES]
