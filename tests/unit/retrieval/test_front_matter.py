from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.retrieval.document_parsers import parse_markdown
from rerankd.retrieval.front_matter import split_front_matter

BODY = "# Body\n\nText.\n"


@pytest.mark.parametrize(
    ("lines", "values", "line"),
    [
        ("title: Backup: the notes", {"title": "Backup: the notes"}, 2),
        ("draft: true\nurl: @foo", {"draft": True, "url": "@foo"}, 3),
        ("tags: [a, b]\ntitle: 50% off\nnote: %done", {"tags": ["a", "b"], "title": "50% off", "note": "%done"}, 4),
        ('title: "Say "hi" twice"\nid: 7', {"title": 'Say "hi" twice', "id": 7}, 2),
        ("title: `code` first", {"title": "`code` first"}, 2),
        ("title: *Important* notes", {"title": "*Important* notes"}, 2),
        ("# comment\n\ntags:\n  - a\n  - b\n标题: 备份: 说明", {"tags": ["a", "b"], "标题": "备份: 说明"}, 7),
        ("title: x\ny: a\x07b", {"title": "x", "y": "a\x07b"}, 3),
        ("title: 'Tis the season", {"title": "'Tis the season"}, 0),
        ("title: a\ttab: here\nempty:", {"title": "a\ttab: here"}, 2),
    ],
)
def test_a_value_that_yaml_refuses_is_plain_text(lines: str, values: dict[str, object], line: int) -> None:
    found = split_front_matter(f"---\n{lines}\n---\n{BODY}")
    assert (found.values, found.text, found.unread) == (values, BODY, "")
    (note,) = found.notes
    assert note.startswith("Its front matter is not valid YAML: ")
    assert f"(line {line})" in note or not line
    assert "read as plain text: " in note


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        ('title = "Backup"\nurl = @foo', {"title": "Backup", "url": "@foo"}),
        ('date = 2024-02-30\ntitle = "Prices"', {"date": "2024-02-30", "title": "Prices"}),
        ('folder = "C:\\data"', {"folder": "C:\\data"}),
    ],
)
def test_a_value_that_toml_refuses_is_plain_text(lines: str, values: dict[str, object]) -> None:
    found = split_front_matter(f"+++\n{lines}\n+++\n{BODY}")
    assert (found.values, found.text) == (values, BODY)
    assert found.notes[0].startswith("Its front matter is not valid TOML: ")


@pytest.mark.parametrize(
    ("value", "kind"),
    [("2024-02-30", "date"), ("2023-02-29", "date"), ("2024-13-01", "date"), ("2024-01-01T25:00:00Z", "date")],
)
def test_an_impossible_date_is_kept_as_text_beside_the_other_keys(value: str, kind: str) -> None:
    found = split_front_matter(f"---\ntitle: Prices\ndate: {value}\nweight: 3\n---\n{BODY}")
    assert found.values == {"title": "Prices", "date": value, "weight": 3}
    assert found.notes == (f"'{value}' in its front matter is no possible {kind} and is kept as text.",)


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        (
            "title: x\ntags: [a, b",
            "Its front matter is not valid YAML: expected ',' or ']', but got '<stream end>' (line 3)",
        ),
        ("title: x\n  - a\n b: c: d", "Its front matter is not valid YAML: "),
        ("title: x\nThis is prose: with: colons", "Its front matter is not valid YAML: "),
        ("title: &a [x]\nother: [*a, *a]", "Its front matter has aliases, which are not followed (line 3)"),
        ("title: x\n!!python/object: {}", "Its front matter is not valid YAML: "),
    ],
)
def test_what_cannot_be_read_stays_text_and_a_note_says_so(tmp_path: Path, lines: str, note: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(f"---\n{lines}\n---\nAn introduction.\n\n{BODY}")
    document = parse_markdown(path)
    blocks = list(document.blocks)
    assert (blocks[0].text.strip(), blocks[0].line) == (lines, 2)
    assert blocks[1].text == "An introduction."
    assert blocks[1].line == 4 + lines.count("\n")
    assert document.metadata == {"title": "Body"}
    assert len(document.notes) == 1
    assert document.notes[0].startswith(note)
    assert document.notes[0].endswith("; it is read as text.")


@pytest.mark.parametrize(
    "text", ["---\nDon't panic - 'it is fine.\n---\nText.\n", "---\n- a\n- b: 'c\n---\n", "+++\nprose\n+++\n", BODY]
)
def test_text_between_two_rules_is_no_front_matter_and_has_no_note(text: str) -> None:
    found = split_front_matter(text)
    assert (found.values, found.text, found.notes) == ({}, text, ())
