"""Experiments in a real browser: start, advance, stop; what others did meanwhile; and who may not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from rerankd.experiments import decisions
from rerankd.experiments.counters import Counters
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.store import ExperimentStore
from tests.integration.console.browser import watched
from tests.integration.console.deciding import HOSTILE, Keys, csrf, decide, key_file, sign_in
from tests.integration.experiments import command, env, experiments
from tests.integration.serving import Served, serve
from tests.registered import variant


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return key_file(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('experiments')}/traces.sqlite"


@pytest.fixture(scope="module")
def served(keys: Keys, database: str) -> Iterator[Served]:
    with serve(env=env(database, api_keys_file=keys.path)) as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that ranks as `mini` does, with other files."""
    return variant(Path("mini"), tmp_path_factory.mktemp("models") / "other", 2.0)


@pytest.fixture
def store(database: str) -> Iterator[ExperimentStore]:
    with experiments(database) as opened:
        yield opened
        decisions.stop_all(opened, "test")


def running(
    store: ExperimentStore,
    name: str,
    challenger: str,
    *,
    model: str = "elsewhere",
    steps: tuple[float, ...] = (0.05, 0.5),
) -> Experiment:
    """Start an experiment on a model of other instances, so that nothing is loaded for it."""
    plan = ExperimentPlan(steps=steps, min_seconds=3600.0)
    return store.start(Experiment(name, "canary", model, challenger, plan=plan), "test")


def seen(experiment: Experiment) -> dict[str, str]:
    """Return the fields by which a form says what was looked at."""
    return {"id": str(experiment.id), "step": str(experiment.step), "state": experiment.state}


def count(store: ExperimentStore, experiment: Experiment, requests: int = 400) -> None:
    """Count requests of both variants; one in forty of the challenger fails, too few to end the experiment."""
    counters = Counters()
    for name, failing in (("champion", 0), ("challenger", 40)):
        for number in range(requests):
            fails = bool(failing) and number % failing == 0
            values = {"errors": float(fails), "timeouts": 0.0, "latency": math.log(20 + number % 9)}
            counters.add(experiment.id, experiment.step, name, values)
    store.add_counts(counters.drain())


def test_an_experiment_is_started_advanced_and_stopped(
    browser: Browser, served: Served, keys: Keys, store: ExperimentStore, database: str, other: Path
) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/experiments")
        page.get_by_label("Name", exact=True).fill("other-canary")
        page.get_by_label("Challenger", exact=True).fill(str(other))
        page.get_by_label("Steps in percent").fill("5,50")
        page.get_by_text("More settings").click()
        page.get_by_label("Errors").fill("0.02")
        page.get_by_role("button", name="Review").click()
        expect(page.locator(".question")).to_contain_text("is tried on 5.0 % of users that ask for mini")
        window.check_accessible()
        page.get_by_label("Reason").fill("it won offline")
        page.get_by_role("button", name="Start", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("has started")
        started = store.get("other-canary")
        assert (started.challenger, started.plan.steps) == (str(other), (0.05, 0.5))
        assert next(rail.margin for rail in started.plan.guardrails if rail.name == "errors") == 0.02
        count(store, started)
        page = window.open("/experiments/other-canary")
        expect(page.locator("table.guardrails tbody tr").first).to_contain_text("2.50 %")
        window.check_accessible()
        decide(
            page,
            "Advance",
            "looks good",
            "Advance from 5.0 % to 50.0 % of users? So far the challenger has answered 400",
        )
        expect(page.get_by_role("status")).to_contain_text("advanced")
        expect(page.locator("[aria-current=step]")).to_have_text("50.0 %")
        window.check_accessible()
        decide(page, "Stop", "it fails too often", "The champion will answer 100 % of the requests for mini again")
        expect(page.get_by_role("status")).to_contain_text("stopped")
        expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        page.get_by_text("Confidence sequences over time").click()
        expect(page.locator("canvas").first).to_be_visible()
        window.check()
    lines = command(database, "history", "other-canary").stdout.splitlines()
    history = [event for event in map(json.loads, lines) if event["action"] != "objective"]
    decided = [(event["action"], event["reason"]) for event in history]
    assert decided == [
        ("stop", "it fails too often"),
        ("advance", "looks good"),
        ("start", f"canary of {other}: it won offline"),
    ]
    assert {event["who"].partition(" (")[0] for event in history} == {"ops"}
    assert history[1]["data"]["requests"]["challenger"] == 400


def test_what_somebody_else_did_meanwhile_is_shown_and_nothing_is_done_twice(
    browser: Browser, served: Served, keys: Keys, store: ExperimentStore, database: str
) -> None:
    running(store, "race", "org/name", steps=(0.05, 0.1, 0.5, 1.0))
    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/experiments/race")
        assert command(database, "advance", "race", "--reason", "from the command line").returncode == 0
        decide(page, "Advance", "on", "from 5.0 % to 10.0 %")
        expect(page.get_by_role("alert")).to_contain_text("Nothing was changed")
        expect(page.get_by_role("alert")).to_contain_text("from the command line")
        expect(page.locator("[aria-current=step]")).to_have_text("10.0 %")
        window.check()
    assert [event.action for event in store.events("race")] == ["advance", "start"]
    headers = {"authorization": f"Bearer {keys.admin}", "accept": "application/json"}
    with httpx.Client(base_url=served.url, trust_env=False, headers=headers) as client:
        form = {"reason": "twice"} | seen(store.get("race"))
        answers = [client.post("/console/experiments/race/advance", data=form) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [303, 409]
        assert "it is running at 50 % now" in answers[1].json()["error"]["message"]
        new = {"name": "again", "challenger": "org/name", "model": "elsewhere again", "reason": "sent twice"}
        answers = [client.post("/console/experiments/start", data=new) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [303, 409]
        refused = client.post("/console/experiments/review", data=new | {"steps": "9;10"})
        assert (refused.status_code, "not a list of steps" in refused.text) == (400, True)
    assert store.get("race").coverage == 0.5


def test_the_kill_switch_in_chinese(browser: Browser, served: Served, keys: Keys, store: ExperimentStore) -> None:
    running(store, "one", "org/name")
    running(store, "two", "org/name", model="elsewhere too")
    with watched(browser, served.url, locale="zh-CN") as window:
        page = sign_in(window, keys.admin, "/experiments/one")
        expect(page.get_by_role("heading", name="护栏指标")).to_be_visible()
        decide(page, "推进", "效果更好", "将覆盖率从 5.0 % 推进到 50.0 % 的用户")
        expect(page.get_by_role("status")).to_contain_text("实验已推进")
        page = window.open("/experiments")
        decide(page, "紧急停止全部", "线上故障", "停止全部 2 个实验（one, two）")
        expect(page.get_by_role("status")).to_contain_text("所有实验均已停止")
        expect(page.get_by_text("当前没有生效的实验")).to_be_visible()
        window.check()
    assert store.active() == []
    assert {event.reason for event in store.events() if event.action == "stop"} >= {"线上故障"}


def test_what_cannot_be_started_says_why_and_keeps_the_form(
    browser: Browser, served: Served, keys: Keys, store: ExperimentStore
) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/experiments")
        if not page.get_by_label("Name", exact=True).is_visible():
            page.get_by_text("Start an experiment").click()
        page.get_by_label("Name", exact=True).fill("same")
        page.get_by_label("Challenger", exact=True).fill("mini")
        page.get_by_label("Model name").select_option("mini")
        page.get_by_role("button", name="Review").click()
        expect(page.get_by_role("alert")).to_contain_text("has the same files as mini, the champion")
        expect(page.get_by_label("Name", exact=True)).to_have_value("same")
        window.check()
    with pytest.raises(Exception, match="no experiment 'same'"):
        store.get("same")


def test_hostile_texts_are_shown_as_text(browser: Browser, served: Served, keys: Keys, store: ExperimentStore) -> None:
    challenger = "org/<script>alert(1)</script>&\"'" + "x" * 900
    running(store, "hostile", challenger, model="<b>bold</b>", steps=(0.05, 0.5, 1.0))
    decisions.advance(store, "hostile", HOSTILE, HOSTILE)
    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/experiments/hostile")
        decide(page, "Advance", HOSTILE, "Advance from 50.0 %")
        expect(page.get_by_role("status")).to_contain_text("advanced")
        expect(page.locator("table.history")).to_contain_text("<script>alert(1)</script>")
        window.check_accessible()
        window.open("/experiments")
        window.check_accessible()
        window.check()


def test_a_tenant_sees_and_decides_nothing(
    browser: Browser, served: Served, keys: Keys, store: ExperimentStore
) -> None:
    running(store, "secret", "org/name")
    with watched(browser, served.url, allow=("Failed to load resource",)) as window:
        page = sign_in(window, keys.tenant, "/traces")
        expect(page.get_by_role("link", name="Traces")).to_be_visible()
        expect(page.get_by_role("link", name="Experiments")).to_have_count(0)
        for path in ("/experiments", "/experiments/secret", "/experiments/missing"):
            page = window.open(path)
            expect(page.get_by_role("alert")).to_contain_text("needs an admin key")
            expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        window.check()
    with httpx.Client(
        base_url=served.url, trust_env=False, headers={"authorization": f"Bearer {keys.tenant}"}
    ) as client:
        for path in ("experiments.json", "experiments/secret.json"):
            assert client.get(f"/console/{path}").status_code == 403
        for path in ("review", "start", "stop-all", "secret/advance", "secret/stop"):
            form = {
                "reason": "no",
                "revision": "1",
                "state": "running",
                "name": "a",
                "challenger": "mini",
                "model": "mini",
            }
            assert client.post(f"/console/experiments/{path}", data=form).status_code == 403
    assert store.get("secret").state == "running"
    assert [event.action for event in store.events("secret")] == ["start"]


def test_a_form_of_another_page_decides_nothing(served: Served, keys: Keys, store: ExperimentStore) -> None:
    experiment = running(store, "forged", "org/name")
    with httpx.Client(base_url=served.url, trust_env=False) as client:
        client.post("/console/sign-in", data={"key": keys.admin})
        token = csrf(client, "/console/experiments/forged")
        form = {"reason": "no"} | seen(experiment)
        for sent in ({}, {"csrf_token": "x"}, {"csrf_token": token[:-1]}):
            assert client.post("/console/experiments/forged/advance", data=form | sent).status_code == 403
        assert client.post("/console/experiments/forged/advance", data={"csrf_token": token}).status_code == 400
        answer = client.post("/console/experiments/forged/advance", data=form | {"csrf_token": token})
        assert answer.headers["location"] == "/console/experiments/forged?notice=advanced"


def test_the_page_says_what_its_json_says(served: Served, keys: Keys, store: ExperimentStore) -> None:
    experiment = running(store, "twin", "org/name")
    count(store, experiment, 50)
    headers = {"authorization": f"Bearer {keys.admin}"}
    with httpx.Client(base_url=served.url, trust_env=False, headers=headers) as client:
        listed = client.get("/console/experiments.json").json()
        assert [one["name"] for one in listed["active"]] == ["twin"]
        shown = client.get("/console/experiments/twin.json").json()
        assert shown["experiment"]["requests"] == {"champion": 50, "challenger": 50, "step": 50}
        assert client.get("/console/experiments/nobody.json").status_code == 404
        assert client.get("/console/experiments/twin.json?notice=anything").status_code == 400
        html = client.get("/console/experiments/twin").text
        assert all(rail["margin_text"] in html for rail in shown["guardrails"])
