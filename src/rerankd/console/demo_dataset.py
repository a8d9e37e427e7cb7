"""The demo's questions as a BEIR folder, to evaluate models on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from rerankd.console.demo_models import RankedQuestion
from rerankd.demo.shop import load_sections
from rerankd.evaluation.trec import write_run

NAME = "handbook"


def write_dataset(folder: Path, questions: Iterable[RankedQuestion]) -> Path:
    """Write the questions about the shop's handbook, with the candidates of the first stage.

    Args:
        folder: folder in which the BEIR folder is made.
        questions: questions with their candidates.

    Returns:
        The BEIR folder.
    """
    asked = [question for question in questions if question.is_about_shop]
    target = folder / NAME
    (target / "qrels").mkdir(parents=True)
    sections = [document for language in ("en", "zh") for document in load_sections(language)]
    documents = {str(document.id): document.text for document in sections}
    _write(target / "corpus.jsonl", ({"_id": _id(name), "text": text} for name, text in documents.items()))
    _write(target / "queries.jsonl", ({"_id": str(n), "text": each.query} for n, each in enumerate(asked, 1)))
    lines = [f"{number}\t{_id(each.answer)}\t1" for number, each in enumerate(asked, 1)]
    (target / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines, ""]), encoding="utf-8")
    candidates = {
        str(number): tuple(_id(str(document.id)) for document in each.record.request.documents)
        for number, each in enumerate(asked, 1)
    }
    write_run(target / "candidates.trec", candidates, "words")
    return target


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _id(name: str) -> str:
    """Return an id without the spaces that separate the columns of a run."""
    return "-".join(name.split())
