from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.calibration import calibrate
from rerankd.evaluation.calibration_pairs import LabelledPairs
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import Evaluation, evaluate
from rerankd.evaluation.query_diff import QueryChange, RankChange
from rerankd.evaluation.report.calibration_report import render_calibration_report
from rerankd.evaluation.report.charts import latency_curves
from rerankd.evaluation.report.markup import element, escaped
from rerankd.evaluation.report.page import POLICY, write_report
from rerankd.evaluation.report.report import render_report
from rerankd.evaluation.report.svg_axes import curve_class, ticks
from rerankd.evaluation.run import Latency, RankingRun, first_stage_run
from tests.unit.evaluation.folders import made_up, shaken

pytestmark = pytest.mark.slow

HOSTILE = (
    "</title></style><script>alert(1)</script><img src=x onerror='1'>\"&\u202e\x00\ud800 熊猫 http://evil.example/"
)
VOID = {"meta", "br", "img", "link"}


class Reader(HTMLParser):
    """Parser of a page: elements, loaded resources, and whether elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def evaluation(queries: int = 60, text: str = "熊猫吃什么? What does it eat?", systems: int = 2) -> Evaluation:
    work = []
    for name in ("one", "two"):
        qrels, rankings = made_up(queries, 20, seed=len(name))
        before = shaken(rankings, 2.0, 1)
        documents = {f"d{n}": f"{text} {n}" for n in range(20)}
        made = Dataset(f"{name} {text}"[:40], {q: f"{text} {q}" for q in qrels}, documents, qrels, before, "a run")
        runs = [first_stage_run(made)]
        for n in range(systems):
            after = shaken(rankings, 1.0, 9 + n)
            logits = {
                query: {d: 5.0 - position for position, d in enumerate(ranking)} for query, ranking in after.items()
            }
            latency = Latency(tuple(10.0 + position % 7 for position in range(queries)), 20 * queries, 3)
            runs.append(RankingRun(f"model {n} {text[:20]}", after, logits, latency))
        work.append((made, runs))
    return evaluate(work, ["nDCG@10", "RR@10"])


def test_a_report_is_one_file_that_asks_for_nothing() -> None:
    page = render_report(evaluation())
    seen = Reader(page)
    assert seen.open == []
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
    assert not seen.attributes & {"src", "href", "srcset", "xlink:href", "action", "style", "background"}
    assert not re.search(r"(https?:)?//[a-z]|url\(|@import", page.replace("<!doctype html>", ""))
    assert POLICY in page
    assert "default-src 'none'" in POLICY


def test_a_report_shows_what_was_found() -> None:
    text = " ".join(Reader(render_report(evaluation())).text)
    for part in (
        "Gains and losses",
        "Reliability of scores",
        "Time of a request",
        "Worst queries",
        "Best queries",
        "Each query, before and after",
        "熊猫吃什么?",
        "log2(rank + 1)",
        "Holm",
        "p95",
    ):
        assert part in text


@pytest.mark.slow
def test_texts_cannot_become_markup() -> None:
    seen = Reader(render_report(evaluation(text=HOSTILE)))
    assert seen.open == []
    assert not seen.tags & {"script", "img"}
    assert not any(name.startswith("on") for name in seen.attributes)
    page = render_report(evaluation(text=HOSTILE))
    page.encode("utf-8")
    assert "\u202e" not in page
    assert "\x00" not in page
    assert "http://evil.example/" in page, "shown as text, which nothing follows"


@pytest.mark.slow
@pytest.mark.parametrize("queries", [1, 3, 300])
def test_any_number_of_queries(queries: int) -> None:
    assert Reader(render_report(evaluation(queries))).open == []


def test_nothing_to_compare_is_a_report_too() -> None:
    assert Reader(render_report(evaluation(systems=0))).open == []
    same = evaluation(20)
    made = same.results[0].dataset
    still = evaluate([(made, [first_stage_run(made), RankingRun("same", made.candidates)])], ["P@1"])
    assert "no difference shown" in render_report(still)


def test_many_comparisons_get_a_table_without_sentences() -> None:
    assert "verdict" in render_report(evaluation(20, systems=5))


def test_a_calibration_has_a_report() -> None:
    logits = np.random.default_rng(1).normal(size=400)
    labels = (np.random.default_rng(2).random(400) < 0.3).astype(float)
    labels[logits > 1] = 1
    calibration = calibrate(LabelledPairs(logits, labels, tuple(f"q{n // 8}" for n in range(400))))
    for balanced in (False, True):
        page = render_calibration_report(calibration, HOSTILE, "pack", balanced)
        seen = Reader(page)
        assert (seen.open, "script" in seen.tags) == ([], False)
        assert ("weighed the same" in page) == balanced


def test_markup_escapes_itself() -> None:
    assert element("p", "<&>", element("b", "x"), class_='"') == '<p class="&quot;">&lt;&amp;&gt;<b>x</b></p>'
    assert escaped("a\u3000b\u00a0c\x07\u200d") == "a b c�\u200d"


def test_ticks_are_round() -> None:
    assert ticks(-0.03, 0.021) == (-0.02, 0.0, 0.02)
    for low, high in ((0, 1), (0, 7320), (-0.0007, 0.0001), (3, 4)):
        positions = ticks(low, high)
        assert 2 <= len(positions) <= 7
        assert low - 1e-9 <= positions[0] <= positions[-1] <= high + 1e-9


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        write_report(tmp_path / "gone" / "report.html", "")


def test_what_left_the_first_five_is_shown() -> None:
    reversed_ranks = tuple(RankChange(f"d{n}", f"text {n}", n == 1, n, 13 - n) for n in range(1, 13))
    change = QueryChange("q", "q", 1.0, 0.0, reversed_ranks)
    assert [document.doc_id for document in change.left_first(5)] == ["d1", "d2", "d3", "d4", "d5"]
    gone = QueryChange("q", "q", 1.0, 0.0, (RankChange("d1", "", 1, 5, None), RankChange("d2", "", 0, None, 1)))
    assert [document.doc_id for document in gone.left_first(5)] == ["d1"]
    assert "Left the first five" in render_report(evaluation())


def test_no_two_curves_look_alike_and_names_are_whole() -> None:
    names = [f"a model with a long name that ends in {number}" for number in range(9)]
    chart = latency_curves([(name, Latency((1.0, 2.0 + n, 3.0), 3, 0)) for n, name in enumerate(names)])
    assert all(name in chart for name in names)
    assert len(set(re.findall(r"curve c\d dash\d", chart))) == len(names)
    assert len({curve_class(number) for number in range(16)}) == 16
