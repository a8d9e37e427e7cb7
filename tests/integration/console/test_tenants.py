"""Every route of the console, walked without a key, with keys that open nothing, and with another tenant's key.

The routes are those of the application itself: a route that `WALKS` does not know fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from fastapi.routing import APIRoute

from rerankd.console import console_routers
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from rerankd.traces.store import TraceFilter
from rerankd.traces.trace import build_trace
from rerankd.types import Adjustment, Document, MatchedRule
from tests.integration.console.tenant_walks import (
    EMPTY,
    JSON,
    MISSING,
    OPEN,
    OWN,
    REFUSED,
    SECRET,
    WALKS,
    Route,
    World,
    open_world,
    send,
    walk_of,
)
from tests.unit.traces.rankings import ranking


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """Return the routes of the application."""
    folder = tmp_path_factory.mktemp("routes")
    service = open_service(load_settings(traces_url=f"sqlite:///{folder}/t.sqlite", jobs_path=str(folder / "j")))
    found = [route for each in console_routers(service) for route in each.routes if isinstance(route, APIRoute)]
    return [Route(method, route.path) for route in found for method in sorted(route.methods or ())]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("tenants")) as opened:
        yield opened


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
