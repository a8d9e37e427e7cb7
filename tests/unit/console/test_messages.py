"""The table of messages: both languages say the same, and templates ask for nothing else."""

from __future__ import annotations

import re
import string

import pytest

from rerankd.console.messages import message, messages
from rerankd.console.pages import TEMPLATES

ASKED = re.compile(r"""\bt\(\s*["']([\w.]+)["']\s*[,)]""")


@pytest.mark.parametrize("name", messages())
def test_both_languages_take_the_same_values(name: str) -> None:
    entry = messages()[name]
    assert set(entry) <= {"en", "zh", "one"}
    assert entry["en"].strip()
    assert entry["zh"].strip()
    values = {
        language: {field for _, field, _, _ in string.Formatter().parse(text) if field}
        for language, text in entry.items()
    }
    assert values["en"] == values["zh"]
    assert values.get("one", values["en"]) <= values["en"]


def test_templates_ask_for_messages_that_exist() -> None:
    asked = {name for path in TEMPLATES.rglob("*.html") for name in ASKED.findall(path.read_text(encoding="utf-8"))}
    assert asked <= set(messages())
    assert len(asked) > 10


def test_one_thing_has_a_form_of_its_own() -> None:
    assert message("common.documents", "en", count=1) == "1 document"
    assert message("common.documents", "en", count=2) == "2 documents"


def test_a_value_may_be_called_name() -> None:
    assert message("common.signed_in_as", "en", name="search") == "Signed in as search"


def test_a_message_may_have_a_name() -> None:
    assert message("common.signed_in_as", "en", name="ops") == "Signed in as ops"
