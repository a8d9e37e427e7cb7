from __future__ import annotations

import json
import sys

import pytest

from rerankd.types import Document, MatchedRule, RankedDocument, RerankResult, Usage

RESULT = RerankResult(
    results=(
        RankedDocument(
            1,
            Document("<b>bamboo</b>", 7, {"page": 3, "index": "x"}),
            0.9,
            2.2,
            2,
            1,
            rules=(MatchedRule("r", "pin", 1.0),),
        ),
        RankedDocument(0, Document("cars " * 200), 0.1, -2.2, 1, 2, truncated=True),
    ),
    model="mini",
    usage=Usage(2, 40, 1),
    timings={"total": 1.5},
)
EMPTY = RerankResult((), "mini", Usage(0, 0, 0), {})


def test_a_ranking_as_plain_data() -> None:
    content = RESULT.to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["results"][0] == {
        "index": 1,
        "document": {"text": "<b>bamboo</b>", "id": 7, "metadata": {"page": 3, "index": "x"}},
        "relevance_score": 0.9,
        "raw_score": 2.2,
        "rank_before": 2,
        "rank_after": 1,
        "truncated": False,
        "chunks": 1,
        "rules": [{"rule": "r", "action": "pin", "weight": 1.0}],
    }
    assert (content["model"], content["usage"]["tokens"], content["timings"]) == ("mini", 40, {"total": 1.5})
    assert set(content) == set(RerankResult.__dataclass_fields__)
    assert EMPTY.to_dict()["results"] == []


def test_a_ranking_as_a_data_frame() -> None:
    frame = RESULT.to_pandas()
    assert frame["text"].tolist() == ["<b>bamboo</b>", "cars " * 200]
    assert (frame["index"].tolist(), frame["id"].tolist()[0], frame["page"].tolist()[0]) == ([1, 0], 7, 3)
    assert frame["metadata.index"].tolist()[0] == "x"
    assert (len(EMPTY.to_pandas()), "text" in EMPTY.to_pandas()) == (0, True)


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="Run: pip install pandas"):
        RESULT.to_pandas()


def test_a_ranking_in_a_notebook() -> None:
    page = RESULT._repr_html_()
    assert "&lt;b&gt;bamboo&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "2 of 2 documents, mini" in page
    assert ">7</td>" in page
    assert len(page) < 2000
    assert "<th" in EMPTY._repr_html_()


def test_a_ranking_is_a_sequence() -> None:
    assert (len(RESULT), RESULT[1].index, [one.index for one in RESULT]) == (2, 0, [1, 0])
