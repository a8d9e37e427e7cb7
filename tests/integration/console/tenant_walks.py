"""Walks: the answer of each route of the console to another tenant, and a service to walk."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
from sqlalchemy import select

from rerankd.database import tables
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.store import ExperimentStore
from rerankd.feedback.case_store import add_cases, list_cases
from rerankd.feedback.detectors import Detection
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.integration.index_program import run
from tests.integration.serving import Served, serve, until
from tests.unit.traces.rankings import ranking

SECRET = "SECRET"
MISSING, EMPTY, REFUSED, OPEN, OWN = "missing", "empty", "refused", "open", "own"
JSON = {"accept": "application/json"}


class Route(NamedTuple):
    """A method and the path that the application has it for."""

    method: str
    path: str


@dataclass(frozen=True)
class Walk:
    """How to ask a route for what is another tenant's.

    Attributes:
        answer: what another tenant gets: `missing` (404), `empty` (the page without the owner's rows), `refused`
            (403, as the owner too), `own` (the action, on rows of their own), `open` (nothing here is anybody's).
        query: parameters that ask for the owner's rows.
        form: fields of an action, all of them valid.
        shows: True if the owner sees their rows here.
        values: parts of the path, where they differ from `World.values`.
    """

    answer: str
    query: str = ""
    form: Mapping[str, str] = field(default_factory=dict)
    shows: bool = True
    values: Mapping[str, str] = field(default_factory=dict)


REASON = {"reason": "not mine"}
DECISION = REASON | {"id": "1", "step": "0", "state": "running"}
MOVE = REASON | {"champion": "1", "version": "2"}
START = {"name": "x", "kind": "canary", "model": "mini", "challenger": "mini", "reason": "not mine"}
GRADE = {"position": "0", "grade": "0"}
TRACE, CASE = {"number": "{trace}"}, {"number": "{case}"}
WALKS: dict[str, Walk] = {
    "GET /console": Walk(OPEN),
    "GET /console/{path:path}": Walk(OPEN, values={"path": "nothing/here"}),
    "GET /console/static/{name}": Walk(OPEN, values={"name": "console.js"}),
    "GET /console/sign-in": Walk(OPEN),
    "POST /console/sign-in": Walk(OPEN, form={"key": "guess"}),
    "POST /console/sign-out": Walk(OPEN),
    "POST /console/language": Walk(OPEN, form={"language": "en"}),
    "GET /console/compare": Walk(MISSING, query="trace={trace}"),
    "POST /console/compare": Walk(MISSING, form={"trace": "{trace}", "mode": "rules", "rules": "rules: []"}),
    "GET /console/traces": Walk(EMPTY, query="tenant={tenant}"),
    "GET /console/traces/export": Walk(MISSING, query="id={trace}"),
    "GET /console/traces/{number}": Walk(MISSING, values=TRACE),
    "GET /console/label": Walk(EMPTY, query="tenant={tenant}"),
    "GET /console/label/next": Walk(EMPTY, query="tenant={tenant}", shows=False),
    "POST /console/label/name": Walk(OWN, form={"name": "Somebody"}),
    "POST /console/label/unskip": Walk(MISSING, form={"tenant": "{tenant}", "request_id": "skipped"}),
    "GET /console/label/agreement": Walk(EMPTY, query="first={ours}&second={ops}"),
    "GET /console/label/export/beir": Walk(MISSING, query="tenant={tenant}", shows=False),
    "GET /console/label/export/training": Walk(MISSING, query="tenant={tenant}", shows=False),
    "GET /console/label/{number}": Walk(MISSING, values=TRACE),
    "POST /console/label/{number}/grade": Walk(MISSING, values=TRACE, form=GRADE),
    "POST /console/label/{number}/undo": Walk(MISSING, values=TRACE),
    "POST /console/label/{number}/skip": Walk(MISSING, values=TRACE, form=REASON),
    "GET /console/label/case/{number}": Walk(MISSING, values=CASE),
    "POST /console/label/case/{number}/grade": Walk(MISSING, values=CASE, form=GRADE),
    "POST /console/label/case/{number}/undo": Walk(MISSING, values=CASE),
    "POST /console/label/case/{number}/skip": Walk(MISSING, values=CASE, form=REASON),
    "GET /console/evaluation": Walk(EMPTY, query="tenant={tenant}"),
    "POST /console/evaluation": Walk(REFUSED, form={"source": "folder:secret/tiny", "model": "mini"}),
    "GET /console/evaluation/{run}": Walk(MISSING),
    "GET /console/evaluation/{run}/progress": Walk(MISSING),
    "GET /console/evaluation/{run}/{query}": Walk(MISSING),
    "GET /console/evaluation/{run}/against/{other}": Walk(MISSING),
    "POST /console/evaluation/{run}/cancel": Walk(MISSING),
    "POST /console/evaluation/{run}/delete": Walk(MISSING),
    "GET /console/monitor": Walk(EMPTY, query="tenant={tenant}"),
    "GET /console/experiments": Walk(REFUSED),
    "GET /console/experiments/{name}": Walk(REFUSED),
    "POST /console/experiments/review": Walk(REFUSED, form=START),
    "POST /console/experiments/start": Walk(REFUSED, form=START),
    "POST /console/experiments/stop-all": Walk(REFUSED, form=REASON),
    "POST /console/experiments/{name}/advance": Walk(REFUSED, form=DECISION),
    "POST /console/experiments/{name}/stop": Walk(REFUSED, form=DECISION),
    "GET /console/history": Walk(REFUSED),
    "GET /console/models": Walk(REFUSED),
    "GET /console/models/{name}": Walk(REFUSED),
    "GET /console/models/{name}/versions/{number}": Walk(REFUSED, values={"number": "1"}),
    "POST /console/models/{name}/promote": Walk(REFUSED, form=MOVE),
    "POST /console/models/{name}/rollback": Walk(REFUSED, form=MOVE),
    "GET /console/ask": Walk(OWN),
    "GET /console/ask/ranking/{request_id}": Walk(MISSING, shows=False),
    "POST /console/ask/answer": Walk(OWN, form={"question": "the warranty", "search": "{request_id}"}),
}


@dataclass
class World:
    """A service on which one tenant and an administrator have something of every kind.

    Attributes:
        served: the service.
        store: its database.
        keys: keys in clear text, and their records.
        values: what stands for the parts of addresses and forms in `WALKS`.
    """

    served: Served
    store: TraceStore
    keys: dict[str, tuple[str, ApiKey]]
    values: dict[str, str]

    def client(self, name: str, **headers: str) -> httpx.Client:
        """Return a client that sends a key; an empty name for none."""
        key = {"authorization": f"Bearer {self.keys[name][0]}"} if name else {}
        return httpx.Client(base_url=self.served.url, headers=key | headers, timeout=60, trust_env=False)

    @contextmanager
    def signed_in(self, name: str) -> Iterator[tuple[httpx.Client, str]]:
        """Open a browser's client, with a session; give the token of its forms too."""
        with self.client("", accept="text/html") as client:
            assert client.post("/console/sign-in", data={"key": self.keys[name][0]}).status_code == 303
            token = re.search('name="csrf_token" value="([^"]+)"', client.get("/console/compare").text)
            assert token is not None
            yield client, token[1]

    def address(self, route: Route, walk: Walk) -> str:
        """Return the address of what is the owner's."""
        path = route.path.replace(":path}", "}")
        parts = self.values | {name: value.format(**self.values) for name, value in walk.values.items()}
        query = f"?{walk.query.format(**self.values)}" if walk.query else ""
        return path.format(**parts) + query

    def form(self, walk: Walk) -> dict[str, str]:
        """Return the fields of an action."""
        return {name: value.format(**self.values) for name, value in walk.form.items()}

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Return all rows but those of the other tenant, and those that the service makes by itself."""
        other = self.keys["theirs"][1]
        left_out = {"passage", "query_text", "candidates", "trace_store"}
        found = {}
        with self.store.connect() as connection:
            for table in tables.metadata.sorted_tables:
                if table.name in left_out or table.name.startswith(("activity", "judged")):
                    continue
                rows = map(tuple, connection.execute(select(table)))
                found[table.name] = [row for row in rows if other.tenant_id not in row and other.owner not in row]
        return found


def walk_of(route: Route) -> Walk:
    """Return how to walk a route; its JSON as its page."""
    name = f"{route.method} {route.path}"
    walk = WALKS.get(name) or (WALKS.get(name.removesuffix(".json")) if name.endswith(".json") else None)
    assert walk is not None, f"say in WALKS what another tenant gets from {name}"
    return walk


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """Start a service on which one tenant has something of everything."""
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("The warranty is one year.")
    run("index", "docs", "--index", "index", cwd=folder)
    keys = {
        "ops": new_key("ops", admin=True),
        "ours": new_key(f"ours {SECRET}"),
        "theirs": new_key("theirs"),
        "scraper": new_key("scraper", metrics=True),
        "expired": new_key("expired", admin=True, expires="2020-01-01T00:00:00+00:00"),
    }
    write_keys(folder / "keys.json", [key for _, key in keys.values()])
    url = f"sqlite:///{folder}/traces.sqlite"
    env = {
        "RERANKD_API_KEYS_FILE": str(folder / "keys.json"),
        "RERANKD_TRACES_URL": url,
        "RERANKD_TRACES_SECONDS": "0.05",
        "RERANKD_INDEX": str(folder / "index"),
        "RERANKD_REGISTRY": f"sqlite:///{folder}/registry.sqlite",
        "RERANKD_ROLLOUT": "false",
    }
    with closing(TraceStore(url)) as store, serve(env=env) as served:
        world = World(served, store, keys, {})
        world.values = fill(world)
        yield world


def fill(world: World) -> dict[str, str]:
    """Make something of every kind; return its numbers and names."""
    store, tenant = world.store, world.keys["ours"][1].tenant_id
    documents = [Document(f"{SECRET} passage {index}", f"{SECRET}-{index}") for index in range(3)]
    for name in ("traced", "cased", "skipped"):
        record = ranking(f"{SECRET} {name}", documents, (0.0, 2.0, 1.0), request_id=name, tenant=tenant)
        store.write([build_trace(replace(record, model=f"{SECRET} model"))])
    found = {trace.request_id: trace for trace in store.list_traces(TraceFilter(tenant=tenant))}
    (full,) = store.load([found["cased"]])
    add_cases(store, full, [Detection("chosen_low", 1, 3.0, f"{SECRET} note")])
    add_feedback(store, [FeedbackEvent("cased", "click", 1, tenant=tenant, time=time.time())])
    (case,) = list_cases(store)
    ExperimentStore(store).start(Experiment("tried", "canary", "mini", "org/challenger"), SECRET)
    values = {
        "tenant": tenant,
        "trace": str(found["traced"].id),
        "case": str(case.id),
        "name": "tried",
        "query": "0",
        "ours": world.keys["ours"][1].owner,
        "ops": world.keys["ops"][1].owner,
    }
    with world.client("ours", **JSON) as ours, world.client("ops", **JSON) as ops:
        for position, (one, other) in enumerate(((3, 1), (0, 0), (1, 2))):
            for client, grade in ((ours, one), (ops, other)):
                form = {"position": str(position), "grade": str(grade)}
                assert client.post(f"/console/label/case/{case.id}/grade", data=form).status_code == 200
        skipped = ours.post(f"/console/label/{found['skipped'].id}/skip", data={"reason": SECRET})
        assert skipped.status_code == 303, skipped.text
        for name in ("run", "other"):
            started = ours.post("/console/evaluation", data={"source": "cases", "model": "mini"})
            values[name] = started.headers["location"].rpartition("/")[2]
            address = f"/console/evaluation/{values[name]}/progress.json"
            until(partial(is_done, ours, address), "evaluated")
        asked = ours.get("/console/ask.json", params={"question": "the warranty"}).json()
        values["request_id"] = asked["search"]["request_id"]
        until(lambda: store.find_trace(values["request_id"], tenant), "traced")
    return values


def is_done(client: httpx.Client, address: str) -> bool:
    """Return True once an evaluation has ended well."""
    state: str = client.get(address).json()["run"]["state"]
    return state == "done"


def send(client: httpx.Client, route: Route, world: World) -> httpx.Response:
    """Ask a route for what is the owner's."""
    walk = walk_of(route)
    return client.request(route.method, world.address(route, walk), data=world.form(walk) or None)
