"""Feedback on a real server that is not valid."""

from __future__ import annotations

import httpx


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
