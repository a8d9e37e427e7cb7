from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.retrieval.html_parser import parse_html

HIDDEN = ("Left out: hidden text.",)


def read(tmp_path: Path, body: str) -> tuple[list[str], tuple[str, ...]]:
    path = tmp_path / "a.html"
    path.write_text(body, encoding="utf-8")
    document = parse_html(path)
    return [block.text for block in document.blocks], document.notes


@pytest.mark.parametrize(
    "body",
    [
        "<p>Seen.</p><p hidden>Hidden.</p>",
        "<p>Seen.<span hidden=''>Hidden.</span></p>",
        "<p>Seen.</p><div hidden=hidden><p>Hidden.</p></div>",
        "<p>Seen.</p><div style='display:none'>Hidden.</div>",
        "<p>Seen.</p><div style='color:red; DISPLAY : none !important'>Hidden.</div>",
        "<main><p>Seen.</p><p style='visibility: hidden'>Hidden.</p></main>",
        "<article><p>Seen.</p><h2 hidden>Hidden.</h2></article>",
        "<p>Seen.</p><ul><li style='display:none'>Hidden.</li></ul>",
        "<table><tr><td>Seen.<td hidden>Hidden.</table>",
        "<table><tr><td>Seen.<tr style='display:none'><td>Hidden.</table>",
        "<table><tr><td>Seen.<tbody hidden><tr><td>Hidden.</table>",
        "<table><tr><td>Seen.<span style='visibility:collapse'>Hidden.</span></table>",
        "<p>Seen.</p><table hidden><tr><td>Hidden.</table>",
    ],
)
def test_hidden_elements_are_left_out_and_named(tmp_path: Path, body: str) -> None:
    assert read(tmp_path, body) == (["Seen."], HIDDEN)


@pytest.mark.parametrize(
    "body",
    [
        "<p aria-hidden=true>Seen.</p>",
        "<p><span aria-hidden=true>Seen.</span></p>",
        "<p style='display:block'>Seen.</p>",
        "<p style='overflow:hidden'>Seen.</p>",
        "<p style='--display:none'>Seen.</p>",
        "<p><s>Seen.</s></p>",
        "<div hidden=until-found>Seen.</div>",
        "<div role=tabpanel hidden>Seen.</div>",
        "<body style='visibility:hidden'><p>Seen.</p>",
        "<details><p>Seen.</p></details>",
        "<p>Seen.</p><p hidden> </p><script hidden>x</script>",
        "<p>Seen.<a aria-hidden=true href='#x'></a><span aria-hidden=true>—</span></p>".replace("—", " "),
    ],
)
def test_what_a_reader_sees_is_read(tmp_path: Path, body: str) -> None:
    assert read(tmp_path, body) == (["Seen."], ())


@pytest.mark.parametrize(
    "decoration",
    [
        "<i aria-hidden=true>home</i>", "<span class=material-icons aria-hidden=true>home</span>",
        "<a class=headerlink aria-hidden=true>link</a>", "<span class=katex-html aria-hidden=true>x2</span>",
        "<span aria-hidden=true>»</span>",
    ],
)  # fmt: skip
def test_icons_and_second_forms_are_no_text(tmp_path: Path, decoration: str) -> None:
    assert read(tmp_path, f"<p>Seen.{decoration}</p>")[0] == ["Seen."]


def test_of_several_views_the_one_that_is_shown_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "<main hidden><p>Hidden.</p></main><main><p>Seen.</p></main>")[0] == ["Seen."]


def test_an_invisible_cell_keeps_its_column(tmp_path: Path) -> None:
    table = "<table><tr><th>a<th>b<tr><td style='visibility:hidden'>x<td>2</table>"
    assert read(tmp_path, table) == (["a | b\n | 2"], HIDDEN)
