from __future__ import annotations

from rerankd.retrieval.outline import Outline


def built(*parts: tuple[int, str] | str) -> list[tuple[str, tuple[str, ...]]]:
    outline = Outline()
    for part in parts:
        if isinstance(part, str):
            outline.add(part)
        else:
            outline.heading(*part)
    return [(block.text, block.headings) for block in outline.finish()]


def test_a_block_stands_under_the_headings_that_are_open() -> None:
    assert built((1, "A"), (2, "B"), "x", (2, "C"), "y", (1, "D"), "z") == [
        ("x", ("A", "B")), ("y", ("A", "C")), ("z", ("D",)),
    ]  # fmt: skip


def test_a_heading_without_text_is_kept() -> None:
    assert built((1, "A"), (1, "B"), "x", (2, "C")) == [("A", ()), ("x", ("B",)), ("C", ("B",))]
    assert built((1, "A"), (2, "B"), (3, "C")) == [("C", ("A", "B"))]
    assert built((1, "A"), (3, "B"), (2, "C"), "x") == [("B", ("A",)), ("x", ("A", "C"))]
    assert built((0, "Only a title")) == [("Only a title", ())]


def test_a_heading_that_is_too_long_is_text_as_well() -> None:
    title = "word " * 60
    [block, below] = built((1, title), "x")
    assert block == (title.strip(), ())
    assert below == ("x", (title[:200],))
    assert built((1, title)) == [(title.strip(), ())]
