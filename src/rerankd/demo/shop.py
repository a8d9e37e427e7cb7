"""Texts of a shop for outdoor equipment: its handbook in sections, the questions of its customers, and rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rerankd._common.json_parsing import parse_json
from rerankd._common.lines import split_lines
from rerankd.types import Document

FOLDER = Path(__file__).parent
HANDBOOK = FOLDER / "handbook"
RULES = FOLDER / "rules.yaml"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a customer.

    Attributes:
        language: `zh` or `en`.
        query: the question.
        answer: id of the section that answers it.
    """

    language: str
    query: str
    answer: str


def load_sections(language: str) -> list[Document]:
    """Return the sections of the handbook in a language; their ids are `FILE#HEADING`.

    Example:
        >>> load_sections("en")[0].id
        'account.en.md#Paying by invoice'
    """
    return [section for path in sorted(HANDBOOK.glob(f"*.{language}.md")) for section in _sections(path)]


def load_questions() -> list[Question]:
    """Return the questions, half of them Chinese, half English."""
    lines = split_lines((FOLDER / "questions.jsonl").read_text(encoding="utf-8"))
    rows = [parse_json(line) for line in lines]
    return [Question(row["language"], row["query"], f"{row['source']}#{row['heading']}") for row in rows]


def _sections(path: Path) -> list[Document]:
    _, *parts = path.read_text(encoding="utf-8").split("\n## ")
    sections = []
    for part in parts:
        heading, _, body = part.partition("\n")
        text = f"{heading}\n{' '.join(body.split())}"
        sections.append(Document(text, f"{path.name}#{heading}", {"source": path.name, "heading": heading}))
    return sections
