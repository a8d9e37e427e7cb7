"""Whatever a file says, each of its words is found again in some passage, and the passage says where it stands."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rerankd._common.text import UNSPACED, is_unspaced
from rerankd.retrieval import ingest as module
from rerankd.retrieval.ingest import IngestOptions, ingest
from rerankd.retrieval.keywords import keywords
from rerankd.retrieval.parsing import parse_here
from rerankd.retrieval.retriever import IndexedPassage
from rerankd.retrieval.splitting import SplitOptions
from tests.unit.retrieval.files import write_pdf
from tests.unit.retrieval.letters import offsets
from tests.unit.retrieval.memory_index import MemoryIndex

SPACES = st.sampled_from([" ", "\n", "\n\n", "\n \n", "\t", "\r\n", "  ", "\u2028", "\x0c", "\xa0"])
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)
PLAIN_WORDS = st.text("abcdeé0123手机的。，.,!?かкл", min_size=1, max_size=9)
SIZES = st.builds(SplitOptions, st.integers(16, 48), st.integers(0, 8))


def texts(words: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.builds(str.__add__, words, SPACES), max_size=60).map("".join)


@pytest.fixture(scope="module", autouse=True)
def _parsed_in_this_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "parse", parse_here)
        yield


def passages(name: str, content: str, sizes: SplitOptions) -> list[IndexedPassage]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content.encode())
        index = MemoryIndex()
        report = ingest([path], index, offsets, IngestOptions(sizes))
    assert report.errors == []
    assert bool(report.empty_files) == (not index.passages)
    return index.passages


def pieces(text: str) -> list[str]:
    """Return the words of a text, and each character of a script without spaces."""
    return re.findall(rf"[{UNSPACED}]|[^\W{UNSPACED}]+", text)


def assert_found(text: str, among: Sequence[IndexedPassage]) -> None:
    whole = [passage.text for passage in among]
    assert [piece for piece in pieces(text) if not any(piece in one for one in whole)] == []
    searchable = {term for one in whole for term in keywords(one)}
    assert {term for term in keywords(text) if len(term) == 1 or not is_unspaced(term[0])} <= searchable


def assert_on_their_lines(text: str, among: Sequence[IndexedPassage]) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for passage in among:
        assert passage.text.split("\n")[0].split(" ")[0] in lines[passage.metadata["line"] - 1]


@settings(deadline=None, max_examples=50)
@given(texts(WORDS), SIZES)
@example("\n\n  \nOne.\n\nTwo\nthree.\r\n\r\nFour", SplitOptions(16, 0))
@example("a " * 40 + "。" + "手" * 60, SplitOptions(16, 4))
def test_text(text: str, sizes: SplitOptions) -> None:
    found = passages("a.txt", text, sizes)
    assert_found(text, found)
    assert_on_their_lines(text, found)


@settings(deadline=None, max_examples=50)
@given(texts(PLAIN_WORDS), SIZES)
def test_markdown_without_markup(text: str, sizes: SplitOptions) -> None:
    found = passages("a.md", text, sizes)
    assert_found(text, found)
    assert_on_their_lines(text, found)


TITLE = st.text("abcd手机", min_size=1, max_size=9)
SECTIONS = st.lists(
    st.tuples(st.integers(1, 3), TITLE, texts(st.text("abcd.手机", min_size=1, max_size=9))), max_size=6
)


@settings(deadline=None, max_examples=50)
@given(SECTIONS, st.booleans(), SIZES)
def test_markdown_with_headings(
    sections: list[tuple[int, str, str]], has_front_matter: bool, sizes: SplitOptions
) -> None:
    content = "---\nauthor: me\n---\n\n" if has_front_matter else ""
    content += "".join(
        f"{'#' * level} {title}{number}\n\n{body}\n\n" for number, (level, title, body) in enumerate(sections)
    )
    found = passages("a.md", content, sizes)
    lines = content.replace("\r\n", "\n").split("\n")
    for number, (_, title, body) in enumerate(sections):
        here = [one for one in found if one.metadata.get("heading", "").split(" > ")[-1] == f"{title}{number}"]
        assert_found(body, here)
        assert_found(f"{title}{number}", found)
        start = next(at for at, line in enumerate(lines, 1) if re.fullmatch(rf"#+ {title}{number}", line))
        assert all(one.metadata["line"] > start for one in here)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(texts(WORDS.filter(lambda word: "\ufeff" not in word)), PLAIN_WORDS), min_size=1, max_size=5),
    SIZES,
)
def test_csv(rows: list[tuple[str, str]], sizes: SplitOptions) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["id", "text", "note"])
    starts = []
    for number, (text, note) in enumerate(rows):
        starts.append(len(re.findall(r"\r\n|\n|\r", out.getvalue())) + 1)
        writer.writerow([f"row{number}", text, note])
    found = passages("a.csv", out.getvalue(), sizes)
    for number, (text, note) in enumerate(rows):
        here = [one for one in found if one.metadata["line"] == starts[number]]
        assert_found(text, here)
        assert all(one.metadata["note"] == note for one in here)
        assert not here or here[0].metadata["id"] == f"row{number}"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(texts(WORDS), st.booleans()), min_size=1, max_size=5), SIZES)
def test_json_lines(rows: list[tuple[str, bool]], sizes: SplitOptions) -> None:
    lines = [
        json.dumps({"text": text, "n": number}, ensure_ascii=escaped) for number, (text, escaped) in enumerate(rows)
    ]
    found = passages("a.jsonl", "\n\n".join(lines), sizes)
    for number, (text, _) in enumerate(rows):
        here = [one for one in found if one.metadata["n"] == number]
        assert_found(text, here)
        assert {one.metadata["line"] for one in here} <= {2 * number + 1}


def test_pages_of_a_pdf(tmp_path: Path) -> None:
    words = [[f"page{page}word{number}" for number in range(30)] for page in range(1, 5)]
    write_pdf(tmp_path / "a.pdf", [" ".join(page) for page in words])
    index = MemoryIndex()
    ingest([tmp_path], index, offsets, IngestOptions(SplitOptions(20, 4)))
    for number, page in enumerate(words, 1):
        here = [one for one in index.passages if one.metadata["page"] == number]
        assert_found(" ".join(page), here)
        assert all(f"page{number}word" in one.text for one in here)
        assert not any(f"page{other}word" in one.text for one in here for other in range(1, 5) if other != number)
