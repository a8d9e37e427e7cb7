"""Requests about what is stored: jobs, the index, feedback, cases, experiments and models."""

from __future__ import annotations

import json
from typing import Any

from tests.recorded.caller import ADMIN, OTHER, Caller
from tests.recorded.inputs import (
    CHINESE,
    DOCUMENTS,
    ENGLISH,
    NAMED,
    QUESTIONS,
    TINY,
)

USERS = ["ada", "bob", "chen", "dora", "eve", "ford"]

GONE = "0" * 32


def run_jobs(call: Caller) -> None:
    """Hand in jobs in every form, fetch them, and touch those of others."""
    one: dict[str, Any] = {"query": CHINESE, "documents": NAMED[:4], "return_documents": True, "top_n": 2}
    many = [one, {"query": ENGLISH, "documents": DOCUMENTS[:3]}]
    lines = "\n".join(json.dumps(body) for body in many).encode()
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"json": one},
        "request": {"json": {"request": one, "priority": "bulk", "idempotency_key": "once"}},
        "requests": {"json": {"requests": many, "timeout": 600}},
        "lines": {"content": lines, "headers": {"content-type": "application/x-ndjson", "idempotency-key": "lines"}},
        "file": {"files": {"file": ("requests.jsonl", lines)}, "data": {"priority": "interactive"}},
    }
    jobs = {}
    for name, sent in kinds.items():
        jobs[name] = call(f"job {name}", "POST", "/v1/jobs", **sent).json()["id"]
        call.wait_for_job(jobs[name])
        call(f"job {name} one", "GET", f"/v1/jobs/{jobs[name]}")
        call(f"job {name} results", "GET", f"/v1/jobs/{jobs[name]}/results")
    job = jobs["requests"]
    call("job again", "POST", "/v1/jobs", json={"request": one, "priority": "bulk", "idempotency_key": "once"})
    call("job conflict", "POST", "/v1/jobs", json={"request": many[1], "idempotency_key": "once"})
    call("job without results", "GET", f"/v1/jobs/{job}?results=false")
    call("jobs", "GET", "/v1/jobs")
    call("jobs some", "GET", "/v1/jobs?state=succeeded&limit=2")
    call("jobs none", "GET", "/v1/jobs?state=failed")
    call("jobs of another", "GET", "/v1/jobs", key=OTHER)
    call("job of another", "GET", f"/v1/jobs/{job}", key=OTHER)
    call("job cancel", "DELETE", f"/v1/jobs/{job}")
    call("job retry", "POST", f"/v1/jobs/{job}/retry")
    call("job gone", "GET", f"/v1/jobs/{GONE}")
    call("jobs wrong state", "GET", "/v1/jobs?state=odd")
    call("jobs wrong limit", "GET", "/v1/jobs?limit=0")
    call("job both", "POST", "/v1/jobs", json={"request": one, "requests": many})
    call("job empty", "POST", "/v1/jobs", json={"requests": [{"query": CHINESE, "documents": []}]})
    call("job wrong webhook", "POST", "/v1/jobs", json={"request": one, "webhook": "ftp://x"})
    call("job wrong lines", "POST", "/v1/jobs", content=b"{}\n7\n", headers={"content-type": "application/jsonl"})


def ask(call: Caller) -> None:
    """Search the index and ask it."""
    for number, question in enumerate(QUESTIONS):
        call(f"search {number}", "POST", "/v1/search", json={"query": question})
        call(f"ask {number}", "POST", "/v1/ask", json={"query": question, "explain": number == 0})
    call(
        "search explain",
        "POST",
        "/v1/search",
        json={"query": QUESTIONS[0], "explain": True, "k": 3, "threshold": 0, "top_n": 1},
    )
    call("search fused", "POST", "/v1/search", json={"query": QUESTIONS[1], "fusion": "rrf", "max_tokens": 16})
    call("ask stream", "POST", "/v1/ask", json={"query": QUESTIONS[0], "stream": True})
    call("search nothing", "POST", "/v1/search", json={"query": ""})
    call("search field", "POST", "/v1/search", json={"query": "a", "wish": 1})


def tell(call: Caller) -> None:
    """Give feedback, flag and label cases, look at the activity."""
    call.wait_for_traces()
    ranked = "rank.rich"
    call("feedback click", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "click", "index": 4})
    items = [
        {"kind": "citation", "document_id": "doc-1"},
        {"kind": "thumb", "index": 0, "value": -1},
        {"kind": "grade", "index": 1, "value": 3},
        {"kind": "thumb", "value": 1, "request_id": "rank.rrf"},
    ]
    call("feedback many", "POST", "/v1/feedback", json={"request_id": ranked, "items": items})
    call("feedback pending", "POST", "/v1/feedback", json={"request_id": "later", "kind": "click", "index": 0})
    call("feedback no request", "POST", "/v1/feedback", json={"kind": "click", "index": 0})
    call("feedback no document", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "click"})
    call("feedback thumb", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "thumb", "value": 7})
    call("feedback kind", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "wink"})
    call("case flag", "POST", "/v1/cases", json={"request_id": ranked, "index": 0, "note": "a draft"})
    call("case flag again", "POST", "/v1/cases", json={"request_id": ranked, "index": 0})
    call("case flag whole", "POST", "/v1/cases", json={"request_id": "rank.rrf"})
    call("case flag unknown", "POST", "/v1/cases", json={"request_id": "never"})
    call("case flag of another", "POST", "/v1/cases", json={"request_id": ranked}, key=OTHER)
    cases = call("cases", "GET", "/v1/cases").json()["data"]
    first = cases[0]["id"]
    call("cases of another", "GET", "/v1/cases", key=OTHER)
    call("cases wrong state", "GET", "/v1/cases?state=odd")
    call("case", "GET", f"/v1/cases/{first}")
    call("case of another", "GET", f"/v1/cases/{first}", key=OTHER)
    call("case gone", "GET", "/v1/cases/999")
    call("case no number", "GET", "/v1/cases/one")
    labels = [{"index": 1, "grade": 2}, {"index": 0, "grade": 0}]
    call("case label", "POST", f"/v1/cases/{first}", json={"labels": labels, "note": "done"})
    call("case state", "POST", f"/v1/cases/{cases[1]['id']}", json={"state": "wont_fix"})
    call("case wrong", "POST", f"/v1/cases/{first}", json={"labels": [{"index": 99, "grade": 1}]})
    call("cases labelled", "GET", "/v1/cases?state=labelled&detector=manual&limit=1")
    call("activity", "GET", "/v1/activity")


def follow_experiment(call: Caller) -> None:
    """Rank as several users on the model that an experiment splits."""
    for user in USERS:
        body = {"query": CHINESE, "documents": DOCUMENTS[:4], "model": "tiny", "explain": True}
        call(f"experiment {user}", "POST", "/v1/rerank", json=body, headers={"x-rerankd-user": user})
    call("experiment session", "POST", "/v1/rerank", json=body, headers={"x-rerankd-session": "s1"})
    call("experiment long user", "POST", "/v1/rerank", json=body, headers={"x-rerankd-user": "u" * 300})


def manage(call: Caller) -> None:
    """Ask about models, health and the service itself; swap and unload."""
    for path in ("/livez", "/readyz", "/health", "/ping", "/v1/cluster/auth"):
        call(f"open {path}", "GET", path, key=None)
    for path in ("/info", "/v1/models", "/v1/models/mini", "/v1/models/tiny", "/v1/models/unknown"):
        call(f"models {path}", "GET", path)
    call("head", "HEAD", "/livez")
    call("swap without admin", "PUT", "/v1/models/tiny", json={"source": "mini"})
    call("swap unknown", "PUT", "/v1/models/nobody", json={"source": "mini"}, key=ADMIN)
    call("swap to nothing", "PUT", "/v1/models/tiny", json={"source": "./nowhere"}, key=ADMIN)
    call("swap wrong", "PUT", "/v1/models/tiny", json={"from": "mini"}, key=ADMIN)
    call("swap", "PUT", "/v1/models/tiny", json={"source": str(TINY)}, key=ADMIN)
    call("unload", "DELETE", "/v1/models/tiny", key=ADMIN)
    call("unload again", "DELETE", "/v1/models/tiny", key=ADMIN)
