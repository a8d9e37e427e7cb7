"""docs/models.md and its Chinese counterpart: the generated tables are current, and name only models that load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.tables.markdown import fill
from docs.families import LANGUAGES, NEEDS, families_table, needs_table
from rerankd.cli.models import app
from rerankd.models.families import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"en": DOCS / "models.md", "zh": DOCS / "zh" / "models.md"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tables_are_current(language: str) -> None:
    text = PAGES[language].read_text(encoding="utf-8")
    made = fill(fill(text, "needs", needs_table(language)), "families", families_table(language))
    assert text == made, "run make docs"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_row_has_every_column(language: str) -> None:
    for table in (needs_table(language), families_table(language)):
        counts = {line.count("|") for line in table.splitlines()}
        assert len(counts) == 1
    assert all(name in families_table(language) for name in FAMILIES)


def test_needs_name_only_models_that_load() -> None:
    examples = {"mini", *(model for family in FAMILIES.values() for model in family.examples)}
    for need in NEEDS:
        assert (f"`{need.model}`" in needs_table("en")) == (need.model in examples)
        assert need.command == "rerankd serve" or need.model in need.command


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_described(name: str) -> None:
    family = FAMILIES[name]
    assert all((family.classes, family.examples, family.languages, family.licence, family.length))


def test_the_command() -> None:
    rows = [json.loads(line) for line in CliRunner().invoke(app, ["families", "--json"]).stdout.splitlines()]
    assert [row["name"] for row in rows] == list(FAMILIES)
    first = rows[0]
    assert first["classes"] == ["XLMRobertaForSequenceClassification"]
    assert "BAAI/bge-reranker-v2-m3" in first["examples"]
    assert (first["instruction"], first["torch"], first["compiled"], first["trained"]) == (False, True, True, True)
    assert (first["length"], first["licence"]) == (
        "8192 (v2-m3), 1024 (jina), 512",
        "Apache-2.0, MIT; CC-BY-NC-4.0 (jina)",
    )
