from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd.retrieval.document_parsers import parse_markdown, parse_text
from rerankd.retrieval.parsed_document import ParsedDocument

# All that str.splitlines() takes for the end of a line and Markdown does not.
ENDS = ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85"]


def markdown(tmp_path: Path, text: str) -> ParsedDocument:
    path = tmp_path / "a.md"
    path.write_bytes(text.encode())
    return parse_markdown(path)


def sections(tmp_path: Path, text: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(block.text, block.headings) for block in markdown(tmp_path, text).blocks]


@pytest.mark.parametrize("end", ENDS)
def test_sections_keep_their_own_bodies(tmp_path: Path, end: str) -> None:
    text = f"# Prices\n\nOne{end}two{end}three.\n\n# Plan A\nIt costs 10.\n# Plan B\nIt costs 99.\n"
    assert sections(tmp_path, text) == [
        (f"One{end}two{end}three.", ("Prices",)), ("It costs 10.", ("Plan A",)), ("It costs 99.", ("Plan B",)),
    ]  # fmt: skip
    text = f"# Manual\n\nOne.\n{end}\n## Winter\n\nDrain.\n\n## Summer\r\n\r\nWash.\r\n"
    assert [(body.strip(), heads[-1]) for body, heads in sections(tmp_path, text) if body.strip()][-2:] == [
        ("Drain.", "Winter"), ("Wash.", "Summer"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nDrain the boiler.\n\n---\n\nCall the plumber.\n",
        "---\nDrain the boiler.\n---\n\nCall the plumber.\n",
        "---\n- Drain the boiler.\n---\n\nCall the plumber.\n",
        "---\n---\nDrain the boiler.\n\n---\n\nCall the plumber.\n",
        "---\n\nNote: Drain the boiler.\n\n---\n\nCall the plumber.\n",
        "---\na: [Drain the boiler.\n---\n\nCall the plumber.\n",
        "---\nDrain the boiler. Call the plumber.\n",
        "***\nDrain the boiler.\n\n***\n\nCall the plumber.\n",
        "\ufeff---\n\nDrain the boiler.\n\n---\n\nCall the plumber.\n",
        "+++\nDrain the boiler.\n+++\nCall the plumber.\n",
    ],
)
def test_a_rule_at_the_top_takes_nothing_away(tmp_path: Path, text: str) -> None:
    document = markdown(tmp_path, text)
    everything = " ".join(" ".join([*block.headings, block.text]) for block in document.blocks)
    assert "Drain the boiler." in everything
    assert "Call the plumber." in everything
    assert set(document.metadata) <= {"title"}


@pytest.mark.parametrize(
    ("top", "metadata"),
    [
        ("---\ntitle: Prices\ndate: 2026-03-01\n---\n", {"title": "Prices", "date": "2026-03-01"}),
        ("---\ndate: 2026-03-01T10:00:00+02:00\ntags: [a, b]\n...\n",
         {"date": "2026-03-01T10:00:00+02:00", "tags": ["a", "b"], "title": "Body"}),
        ("+++\ndate = 2026-03-01\ndraft = false\n+++\n", {"date": "2026-03-01", "draft": False, "title": "Body"}),
        ("---  \r\ndate: 2026-03-01 \r\nid: 7\r\n---\r\n", {"date": "2026-03-01", "id": 7, "title": "Body"}),
        ("---\n# a comment\ndate: 2026-03-01\nnested: {a: 2026-01-01}\n---\n",
         {"date": "2026-03-01", "nested": {"a": "2026-01-01"}, "title": "Body"}),
        ("---\n---\n", {"title": "Body"}),
    ],
)  # fmt: skip
def test_front_matter_is_metadata(tmp_path: Path, top: str, metadata: dict[str, object]) -> None:
    document = markdown(tmp_path, f"{top}# Body\n\nText.\n")
    assert document.metadata == metadata
    assert [(block.text, block.headings) for block in document.blocks] == [("Text.", ("Body",))]


def test_aliases_of_aliases_are_not_expanded(tmp_path: Path) -> None:
    bomb = "---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\nText.\n"
    assert markdown(tmp_path, bomb).metadata.get("c") is None


def test_a_title_in_the_front_matter_stands_above_a_text_without_one(tmp_path: Path) -> None:
    assert sections(tmp_path, "---\ntitle: Kettles\n---\nText.\n\n## Care\n\nDescale.\n") == [
        ("Text.", ("Kettles",)), ("Descale.", ("Kettles", "Care")),
    ]  # fmt: skip


def test_a_table_tells_its_header_and_nothing_else_is_lost(tmp_path: Path) -> None:
    text = "# A\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[ref]: https://example.org 'A definition'\n\n# Empty\n\n# Last"
    blocks = list(markdown(tmp_path, text).blocks)
    assert [(block.text.strip(), block.headings, block.header_lines) for block in blocks] == [
        ("| a | b |\n|---|---|\n| 1 | 2 |", ("A",), 2),
        ("[ref]: https://example.org 'A definition'", ("A",), 0),
        ("Empty", (), 0),
        ("Last", (), 0),
    ]


LETTERS = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(["\n", *ENDS, " "])


@settings(deadline=None, max_examples=60)
@given(st.text(LETTERS, max_size=80))
def test_every_word_of_a_text_is_in_a_block(text: str) -> None:
    import tempfile

    words = text.split()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_bytes(text.encode())
        assert " ".join(block.text for block in parse_text(path).blocks).split() == words
        path.write_bytes("\n".join(line for line in text.split("\n")).encode())
        read = " ".join(" ".join((*block.headings, block.text)) for block in parse_markdown(path).blocks)
        letters = {word for word in words if word.isalnum()}
        assert letters <= set(read.split())


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("\x1b[31mERROR\x1b[0m pump\n\n\x1b[1;32mok\x1b[m", ["ERROR pump", "ok"]),
        ("\x1b]0;title\x07prompt$ ls", ["prompt$ ls"]),
        ("an \x1b alone, [31m too", ["an \x1b alone, [31m too"]),
    ],
)
def test_colours_of_a_terminal_are_no_text(tmp_path: Path, text: str, read: list[str]) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert [block.text for block in parse_text(tmp_path / "a.txt").blocks] == read
