from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rerankd.cli import main
from rerankd.cli.output import bar, cell, movement, readable, stderr, stdout, write_rows


def test_rows_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([{"a": "熊猫"}, {"a": "\ud800"}])
    first, second = capsys.readouterr().out.splitlines()
    assert first == '{"a": "熊猫"}'
    assert json.loads(second) == {"a": "\ud800"}


def test_cells_hold_nothing_that_a_terminal_obeys() -> None:
    assert cell("a\x1b[31m\n b[bold]").plain == "a\\x1b[31m b[bold]"
    assert len(cell("x" * 9000).plain) == 400


def test_bars_and_movements() -> None:
    assert bar(0.5, 4).plain == "██░░"
    assert bar(7, 2).plain == "██"
    assert [movement(*positions).plain for positions in ((1, 1), (5, 2), (2, 5))] == ["1 =", "5 ▲", "2 ▼"]


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eabc\x08\r\x7f"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202eabc\\x08\\x0d\\x7f"


@pytest.mark.parametrize("console", [stdout, stderr])
def test_nothing_that_is_printed_controls_the_terminal(
    console: Callable[[], Console], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table = Table("column", title=Text(HOSTILE))
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    table.add_row(cell(HOSTILE))
    for printed in (HOSTILE, Text(HOSTILE), Panel(HOSTILE), table):
        console().print(printed, markup=False, highlight=False, soft_wrap=isinstance(printed, str))
    captured = capfd.readouterr()
    printed_text = captured.out + captured.err
    assert [char for char in printed_text if is_control(char)] == []
    assert printed_text.count("\\x1b]0;owned") == 7
    assert SHOWN in printed_text


def is_control(char: str) -> bool:
    return char != "\n" and (unicodedata.category(char) == "Cc" or char == "\u202e")


def test_json_controls_no_terminal_and_keeps_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([{"text": HOSTILE}])
    line = capsys.readouterr().out
    assert [char for char in line if is_control(char)] == []
    assert json.loads(line) == {"text": HOSTILE}


def test_names_of_emoji_stay(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print("a :bamboo: and :warning:", markup=False)
    assert capsys.readouterr().out == "a :bamboo: and :warning:\n"


def test_logs_and_tracebacks_control_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("rerankd", logging.INFO, "", 0, "read %s", (HOSTILE,), None)
    assert is_safe(main._LogFormatter(logging.BASIC_FORMAT).format(record))
    error = ValueError(HOSTILE)
    main._print_traceback(ValueError, error, None)
    assert is_safe(capsys.readouterr().err)


def is_safe(text: str) -> bool:
    return "\\x1b]0;owned" in text and not any(map(is_control, text))


@pytest.mark.parametrize("text", ["a [/b] c", "[red]x[/red]", "[link=x]y", "C:\\[x]", ":bamboo: [1]"])
def test_brackets_in_what_is_printed_are_no_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("what")
    table.add_row(text)
    stdout().print(text)
    stdout().print(table)
    assert capsys.readouterr().out.count(text) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (24.271982998470776, "24.272"), (0.00012345, "0.00012"), (6.0, "6"), (0.5, "0.5"), (-3.14159, "-3.142"),
        (1234567.891234, "1234567.891"), (7, "7"), (True, "yes"), (None, ""), ("a text", "a text"),
        (float("nan"), "nan"),
        ({"activation": "sigmoid", "top_n": None, "max_length": 512}, "activation=sigmoid, top_n=, max_length=512"),
        ({"fusion": {"method": "rrf", "k": 60}, "rules": {}}, "fusion.method=rrf, fusion.k=60, rules="),
        (["a", 0.33333], "a, 0.333"), ({}, ""),
    ],
)  # fmt: skip
def test_values_are_shown_as_people_read_them(value: object, shown: str) -> None:
    assert readable(value) == shown
