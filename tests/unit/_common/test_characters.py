from __future__ import annotations

import json

import pytest

from rerankd._common.characters import escape_controls, escape_json_controls, is_blank

INVISIBLE = (
    "  |\t\n\r\x0b\x0c|\u00a0\u3000|\u200b\u200c\u200d\u2060|\ufeff|\u00ad|\u2028|\ufe0f|\u3164|\u2800|\x00|\U000e0020"
    "|\u202e \u202c|\u180e|\u034f|"
)


@pytest.mark.parametrize("text", INVISIBLE.split("|"))
def test_texts_that_show_nothing(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", [".", "0", "熊", " a ", "\u200bx", "❤️", "\ufffd", "\ue000", "\u0301"])
def test_texts_that_show_something(text: str) -> None:
    assert not is_blank(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\rb", "a\\x0db"),
        ("a\r\nb\tc\n", "a\nb\tc\n"),
        ("\u202etxt", "\\u202etxt"),
        ("\u2028", "\\u2028"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\ud800", "\\ud800"),
        ("熊猫 👩‍🔬 é\u00a0\u3000x", "熊猫 👩‍🔬 é\u00a0\u3000x"),
    ],
)
def test_controls_are_shown(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


@pytest.mark.parametrize("text", ["\x9b31m", "\x7f", "\u202e\u2066", "\x1b", "熊猫"])
def test_json_keeps_its_value(text: str) -> None:
    escaped = escape_json_controls(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(escaped) == {"text": text}
    assert escape_controls(escaped) == escaped
