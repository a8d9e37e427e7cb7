"""Every route of the console, walked without a key, with keys that open nothing, and with another tenant's key.

The routes are those of the application itself: a route that `WALKS` does not know fails the test.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select

from rerankd.console import console_routers
from rerankd.database import tables
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.store import ExperimentStore
from rerankd.feedback.case_store import add_cases, list_cases
from rerankd.feedback.detectors import Detection
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Adjustment, Document, MatchedRule
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


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """Return the routes of the application."""
    folder = tmp_path_factory.mktemp("routes")
    service = open_service(load_settings(traces_url=f"sqlite:///{folder}/t.sqlite", jobs_path=str(folder / "j")))
    found = [route for each in console_routers(service) for route in each.routes if isinstance(route, APIRoute)]
    return [Route(method, route.path) for route in found for method in sorted(route.methods or ())]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("tenants")
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


def test_every_route_has_its_walk(routes: list[Route]) -> None:
    known = {f"{route.method} {route.path}" for route in routes}
    assert set(WALKS) - known == set(), "routes that are gone"
    for route in routes:
        walk_of(route)


def test_the_owner_gets_what_the_others_must_not(world: World, routes: list[Route]) -> None:
    before = world.rows()
    with world.client("ours") as ours, world.client("ops") as ops:
        for route in routes:
            walk = walk_of(route)
            if route.method == "POST" or walk.answer in (OPEN, OWN):
                continue
            client = ops if walk.answer == REFUSED else ours
            answer = send(client, route, world)
            if walk.answer == REFUSED and "/models/" in route.path:
                assert answer.status_code == 503, route.path  # there is no registry in this test
                continue
            expected = {200} if walk.shows else {200, 303}
            assert answer.status_code in expected, (route.path, answer.status_code, answer.text[-300:])
            if walk.shows and walk.answer in (MISSING, EMPTY) and "/progress" not in route.path:
                assert SECRET in answer.text, route.path
    assert world.rows() == before


@pytest.mark.parametrize("way", ["header", "session"])
def test_another_tenant_sees_and_changes_nothing(way: str, world: World, routes: list[Route]) -> None:
    before = world.rows()
    with ExitStack() as stack:
        if way == "header":
            theirs = stack.enter_context(world.client("theirs", **JSON))
        else:
            theirs, theirs.headers["x-csrf-token"] = stack.enter_context(world.signed_in("theirs"))
        for route in routes:
            walk = walk_of(route)
            if walk.answer == OPEN:
                continue
            answer = send(theirs, route, world)
            place = (route.path, answer.status_code, answer.text[-300:])
            text = re.sub(f"ours( |%20){SECRET}", "", answer.text) if "{ours}" in walk.query else answer.text
            assert SECRET not in text, place
            expected = {MISSING: {404}, EMPTY: {200, 303}, REFUSED: {403}, OWN: {200, 303}}[walk.answer]
            assert answer.status_code in expected, place
    assert world.rows() == before


@pytest.mark.parametrize("name", ["", "scraper", "expired", "forged", "unsigned"])
def test_without_a_key_that_opens_it_nothing_is_shown(name: str, world: World, routes: list[Route]) -> None:
    before = world.rows()
    with world.client(name if name in world.keys else "") as client:
        if name in ("forged", "unsigned"):
            client.cookies.set("rerankd_session", "eyJrZXkiOiIifQ.x.y" if name == "forged" else "{}", path="/console")
        for route in routes:
            answer = send(client, route, world)
            place = (route.path, answer.status_code, answer.text[-300:])
            assert SECRET not in answer.text or answer.status_code in (303, 401, 403), place
            if walk_of(route).answer == OPEN:
                assert answer.status_code < 500, place
            elif name in ("scraper", "expired"):
                assert answer.status_code == (403 if name == "scraper" else 401), place
            elif route.method == "POST" or route.path.endswith(".json"):
                assert answer.status_code == 401, place
            else:
                assert answer.status_code == 303, place
                assert answer.headers["location"].startswith("/console/sign-in?next=%2Fconsole"), place
    assert world.rows() == before


@pytest.mark.parametrize("token", [None, "", "x", "other"])
def test_no_action_without_the_token_of_its_session(token: str | None, world: World, routes: list[Route]) -> None:
    before = world.rows()
    with world.signed_in("ops") as (ops, _), world.signed_in("ops") as (_, of_other_session):
        sent = of_other_session if token == "other" else token
        for route in routes:
            walk = walk_of(route)
            if route.method != "POST" or walk.answer == OPEN:
                continue
            form = world.form(walk) | ({} if sent is None else {"csrf_token": sent})
            answer = ops.post(world.address(route, walk), data=form)
            assert answer.status_code == 403, (route.path, answer.status_code)
    assert world.rows() == before


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_no_action_for_a_page_of_another_origin(headers: dict[str, str], world: World, routes: list[Route]) -> None:
    before = world.rows()
    with world.client("ops", **headers) as ops:
        for route in routes:
            if route.method == "POST":
                assert send(ops, route, world).status_code == 403, route.path
    assert world.rows() == before


@pytest.mark.parametrize(
    "value", ["9" * 18, "9" * 30, "9" * 5000, "-1", "%00", "%FF", "%ED%A0%80", "..%2F..%2Fetc", "x" * 5000]
)
def test_what_is_no_number_and_no_name_is_not_found(value: str, world: World, routes: list[Route]) -> None:
    with world.client("ops", **JSON) as ops:
        for route in routes:
            walk = walk_of(route)
            for name in re.findall(r"{(\w+)}", route.path):
                values = {part: text for part, text in walk.values.items() if part != name} | {name: value}
                changed = replace(walk, values=values)
                answer = ops.request(route.method, world.address(route, changed), data=world.form(walk) or None)
                no_registry = answer.status_code == 503 and "no registry" in answer.text
                assert answer.status_code in (400, 404, 405) or no_registry, (route, name, answer.status_code)


BODIES = {
    "application/x-www-form-urlencoded": b"&".join(b"field%d=1" % number for number in range(25_000)),
    "multipart/form-data": b"",
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_form_that_cannot_be_read_is_refused(kind: str, world: World, routes: list[Route]) -> None:
    with world.client("ops", **JSON) as ops:
        for route in routes:
            if route.method == "POST" and not route.path.endswith("/sign-out"):
                address = world.address(route, walk_of(route))
                answer = ops.post(address, content=BODIES[kind], headers={"content-type": kind})
                assert answer.status_code in (400, 403, 503), (route.path, answer.status_code)


def test_a_tenant_does_not_see_what_rules_hid(world: World) -> None:
    tenant = world.keys["ours"][1].tenant_id
    hides = Adjustment(0.0, 0, True, (MatchedRule("hides", "filter", 0.0),))
    documents = [Document("shown", "a"), Document("HIDDEN", "HIDDEN"), Document("shown too", "c")]
    record = ranking("who may read it?", documents, (0.0, 2.0, 1.0), request_id="hides", tenant=tenant)
    world.store.write([build_trace(replace(record, adjustments=(Adjustment(), hides, Adjustment())))])
    (trace,) = world.store.list_traces(TraceFilter(tenant=tenant, request_id="hides"))
    addresses = [
        *(f"traces/{trace.id}", f"traces/export?id={trace.id}", f"label/{trace.id}"),
        *(f"compare?trace={trace.id}", f"compare?trace={trace.id}&model=mini"),
    ]
    form = {"trace": str(trace.id), "mode": "rules", "rules": "rules: []"}
    with world.client("ours") as ours, world.client("ops") as ops:
        for address in addresses:
            answer = ours.get(f"/console/{address}")
            assert answer.status_code == 200
            assert "shown too" in answer.text
            assert "HIDDEN" not in answer.text, address
        tried = ours.post("/console/compare", data=form, headers=JSON)
        assert tried.json()["comparison"]["right"]["order"] == [1, 0]
        assert "HIDDEN" not in tried.text
        assert "HIDDEN" in ops.get(f"/console/compare?trace={trace.id}").text
