"""Requests to the service, whose responses are kept by name."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx

from tests.recorded.rules import HEADERS

TEAM, OTHER, ADMIN, SLOW = "rr-team-key-for-tests", "rr-other-key-for-tests", "rr-admin-key-for-tests", "rr-slow-key"
"""Keys in clear text; `fixtures/keys.json` holds their hashes."""


class Caller:
    """Sends requests under numbers and keeps the answers."""

    def __init__(self, client: httpx.Client) -> None:
        self.answers: dict[str, Any] = {}
        self._client = client

    def __call__(self, name: str, method: str, path: str, *, key: str | None = TEAM, **kwargs: Any) -> httpx.Response:
        """Send a request; its id is its name."""
        headers = {"x-request-id": re.sub(r"\W+", ".", name), **kwargs.pop("headers", {})}
        if key:
            headers["authorization"] = f"Bearer {key}"
        response = self._client.request(method, path, headers=headers, **kwargs)
        named = {header: response.headers[header] for header in HEADERS if header in response.headers}
        kind = response.headers.get("content-type", "").partition(";")[0]
        body: Any = response.text
        if kind == "application/json" and response.content:
            body = response.json()
        elif kind == "application/x-ndjson":
            body = [json.loads(line) for line in response.text.splitlines()]
        elif kind == "text/event-stream":
            body = [
                line if line.startswith("event") else json.loads(line[6:]) for line in response.text.split("\n") if line
            ]
        assert name not in self.answers, name
        self.answers[name] = {
            "request": f"{method} {path}",
            "status": response.status_code,
            "headers": named,
            "other_headers": " ".join(
                sorted(set(response.headers) - set(HEADERS) - {"date", "server", "transfer-encoding"})
            ),
            "body": body,
        }
        return response

    def metric(self, name: str) -> float:
        """Sum of a metric of the service."""
        text = self._client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"}).text
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name
        )

    def wait_for_traces(self) -> None:
        """Return when everything that was ranked is in the database."""
        deadline = time.monotonic() + 20
        while self.metric("rerankd_traces_queue_size"):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait_for_job(self, job: str) -> None:
        """Return when a job has ended."""
        deadline = time.monotonic() + 20
        while True:
            response = self._client.get(f"/v1/jobs/{job}", headers={"authorization": f"Bearer {ADMIN}"})
            if response.json()["state"] not in ("queued", "running"):
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)
