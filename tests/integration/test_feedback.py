"""Feedback on a real server that is not valid."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.integration.serving import serve, until


def test_feedback_that_cannot_be_is_refused(server_url: str) -> None:
    def post(body: object) -> httpx.Response:
        return httpx.post(f"{server_url}/v1/feedback", json=body)

    response = post({"request_id": "x", "items": [{"kind": "click", "index": 1}, {"kind": "thumb", "value": -1}]})
    assert (response.status_code, response.json()) == (202, {"object": "feedback", "accepted": 2, "pending": 2})
    wrong: list[dict[str, object]] = [
        {"items": []},
        {"kind": "click", "index": 0},
        {"request_id": "x", "kind": "click"},
        {"kind": "x"},
        {},
    ]
    for body in wrong:
        assert post(body).status_code == 400, body
    assert post({"request_id": "x", "kind": "click", "index": 2**40}).status_code == 400


def test_a_document_beyond_those_of_a_traced_ranking_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/traces.sqlite"
    with serve(env={"RERANKD_TRACES_URL": url, "RERANKD_TRACES_SECONDS": "0.05"}) as served:
        query = {"query": "warranty", "documents": ["Three years.", "A car."]}
        ranked = httpx.post(f"{served.url}/v1/rerank", json=query, timeout=60).json()

        def post(index: int, kind: str = "click") -> httpx.Response:
            body = {"request_id": ranked["id"], "kind": kind, "index": index}
            return httpx.post(f"{served.url}/v1/feedback", json=body, timeout=60)

        until(lambda: post(0).json().get("pending") == 0, "the ranking traced")
        for index, kind in ((2, "click"), (77, "click"), (77, "citation"), (2, "grade")):
            refused = post(index, kind)
            assert refused.status_code == 400
            assert f"index is {index}, but the ranking" in refused.text
            assert "has 2 documents." in refused.text
        assert post(1).json() == {"object": "feedback", "accepted": 1, "pending": 0}
