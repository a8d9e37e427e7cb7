"""Models in a real browser, over a real MLflow server: promote, roll back, compare; and who may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from rerankd.experiments import decisions
from rerankd.experiments.experiment import Experiment
from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from tests.integration.console.browser import watched
from tests.integration.console.deciding import HOSTILE, Keys, csrf, decide, key_file, sign_in
from tests.integration.experiments import experiments
from tests.integration.mlflow_server import TrackingServer, tracking_server
from tests.integration.registry.following import rerankd
from tests.integration.serving import Served, serve, until
from tests.registered import KEY, gate_record, variant

FOREIGN = "<img src=x onerror=alert(1)> & 'others'"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return key_file(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def registry(tracking: TrackingServer, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Return a registry with three versions of `med`: two that passed a gate, and one that nobody examined."""
    folder = tmp_path_factory.mktemp("models")
    registry = Registry(Store(tracking.url), Cache(folder / "cache"), KEY)
    for number in (1, 2):
        model = variant(Path("mini"), folder / str(number), float(number))
        gate = gate_record(model, folder / f"{number}.json", key=KEY)
        registry.register(model, "med", gate=gate, metrics={"nDCG@10": 0.7 + number / 100}, alias="challenger")
    hostile = {"note": HOSTILE, "<b>tag</b>": "x" * 3000}
    registry.register(variant(Path("mini"), folder / "3", 3.0), "med", metrics={"<i>m</i>": 0.1}, tags=hostile)
    registry.promote("med", 1, "the first")
    registry.store.create_model(FOREIGN)
    return registry


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('experiments')}/traces.sqlite"


@pytest.fixture(scope="module")
def served(registry: Registry, keys: Keys, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    env = {
        "RERANKD_TRACES_URL": database,
        "RERANKD_API_KEYS_FILE": str(keys.path),
        "RERANKD_REGISTRY": registry.store.uri,
        "RERANKD_REGISTRY_SECONDS": "1",
        "RERANKD_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "RERANKD_GATE_KEY": KEY,
        "RERANKD_MODEL": "registry:med",
    }
    with serve(env=env) as running:
        yield running


@pytest.fixture
def first(registry: Registry) -> Iterator[Registry]:
    """Return the registry with version 1 as champion, without one before it."""
    yield registry
    if registry.store.aliases("med")["champion"] != 1:
        registry.promote("med", 1, "back to the first")


def test_a_version_is_promoted_and_rolled_back(browser: Browser, served: Served, keys: Keys, first: Registry) -> None:
    def version() -> object:
        headers = {"authorization": f"Bearer {keys.admin}"}
        [card] = httpx.get(f"{served.url}/v1/models", headers=headers, timeout=10).json()["data"]
        return card["registry"]["version"]

    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/models")
        expect(page.locator("table.served tbody tr")).to_contain_text(["registry:med@champion"])
        expect(page.locator("table.served")).to_contain_text("a compiled model: ONNX Runtime on the CPU")
        expect(page.get_by_text(FOREIGN)).to_be_visible()
        window.check_accessible()
        page.get_by_role("link", name="med", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("champion: version 1")
        decide(
            page,
            "Promote",
            "better offline",
            "It takes over 100 % of the requests from version 1. On this instance med",
        )
        expect(page.get_by_role("status")).to_contain_text("is the champion now")
        until(lambda: version() == 2, "version 2 in service")
        decide(page, "Roll back", "worse online", "Roll med back from version 2 to version 1?")
        expect(page.get_by_role("status")).to_contain_text("champion again")
        until(lambda: version() == 1, "version 1 in service")
        window.check()
    moves = [row for row in rerankd(first.store.uri, "history", "med") if row["kind"] == "decision"]
    assert [(row["action"], row["reason"]) for row in moves[:2]] == [
        ("rollback", "worse online"),
        ("promote", "better offline"),
    ]
    assert all(row["who"].startswith("ops (") for row in moves[:2])


def test_in_chinese(browser: Browser, served: Served, keys: Keys, first: Registry) -> None:
    with watched(browser, served.url, locale="zh-CN") as window:
        page = sign_in(window, keys.admin, "/models/med")
        decide(page, "晋升", "离线效果更好", "将 med 版本 2 设为冠军")
        expect(page.get_by_role("status")).to_contain_text("该版本现已成为冠军")
        decide(page, "回滚", "线上变差", "将 med 从版本 2 回滚到版本 1")
        expect(page.get_by_role("status")).to_contain_text("之前的版本已重新成为冠军")
        window.check()
    assert [move.reason for move in first.history("med").moves[:2]] == ["线上变差", "离线效果更好"]


def test_a_version_shows_its_gate_and_what_changed(
    browser: Browser, served: Served, keys: Keys, first: Registry
) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/models/med?a=1&b=3")
        expect(page.locator("table.diff")).to_contain_text("metrics/nDCG@10")
        window.check_accessible()
        page.get_by_role("link", name="version 2", exact=True).click()
        expect(page.get_by_text("The signature is valid.")).to_be_visible()
        expect(page.get_by_role("row", name="gain on domain")).to_contain_text("0.0200")
        window.check_accessible()
        window.open("/models/med/versions/3")
        expect(page.get_by_text("There is no gate record.")).to_be_visible()
        expect(page.get_by_role("button", name="Promote", exact=True)).to_have_count(0)
        decide(page, "Promote in spite of the checks", HOSTILE, "the history will say that you overrode the checks")
        expect(page.locator("table.history")).to_contain_text("checks overridden")
        expect(page.locator("table.history")).to_contain_text("<script>alert(1)</script>")
        window.check_accessible()
        window.check()


def test_what_somebody_else_did_meanwhile_is_shown_and_nothing_is_done_twice(
    browser: Browser, served: Served, keys: Keys, first: Registry
) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/models/med")
        first.promote("med", 2, "from the command line")
        decide(page, "Promote in spite of the checks", "mine", "version 3")
        expect(page.get_by_role("alert")).to_contain_text("Nothing was changed")
        expect(page.get_by_role("alert")).to_contain_text("from the command line")
        window.check()
    headers = {"authorization": f"Bearer {keys.admin}", "accept": "application/json"}
    before = len(first.history("med").moves)
    with httpx.Client(
        base_url=f"{served.url}/console/models/med", trust_env=False, headers=headers, timeout=30
    ) as client:
        form = {"reason": "mine", "version": "3", "champion": "1", "force": "true"}
        answer = client.post("/promote", data=form)
        assert (answer.status_code, "it is med 2 now" in answer.text) == (409, True)
        refused = client.post("/promote", data={"reason": "no gate", "version": "3", "champion": "2"})
        assert (refused.status_code, "has no gate record" in refused.text) == (409, True)
        notices = [client.post("/rollback", data={"reason": "twice", "champion": "2"}) for _ in range(2)]
        assert [answer.headers["location"].partition("=")[2] for answer in notices] == ["rolled_back", "unchanged"]
    assert len(first.history("med").moves) == before + 1


def test_a_tenant_and_a_form_of_another_page_decide_nothing(
    browser: Browser, served: Served, keys: Keys, first: Registry
) -> None:
    with watched(browser, served.url, allow=("Failed to load resource",)) as window:
        page = sign_in(window, keys.tenant, "/traces")
        expect(page.get_by_role("link", name="Models")).to_have_count(0)
        for path in ("/models", "/models/med", "/models/med/versions/1", "/models/missing"):
            expect(window.open(path).get_by_role("alert")).to_contain_text("needs an admin key")
        window.check()
    before = len(first.history("med").moves)
    forms = {"promote": {"version": "2", "champion": "1"}, "rollback": {"champion": "1"}}
    with httpx.Client(base_url=f"{served.url}/console", trust_env=False, timeout=30) as client:
        client.headers["authorization"] = f"Bearer {keys.tenant}"
        for path in ("models.json", "models/med.json", "models/med/versions/1.json"):
            assert client.get(f"/{path}").status_code == 403
        for action, form in forms.items():
            assert client.post(f"/models/med/{action}", data=form | {"reason": "no"}).status_code == 403
        del client.headers["authorization"]
        client.post("/sign-in", data={"key": keys.admin})
        token = csrf(client, "/models/med")
        for action, form in forms.items():
            assert client.post(f"/models/med/{action}", data=form | {"reason": "no"}).status_code == 403
            assert client.post(f"/models/med/{action}", data=form | {"csrf_token": token}).status_code == 400
    assert len(first.history("med").moves) == before


def test_json_says_the_same(served: Served, keys: Keys, first: Registry) -> None:
    headers = {"authorization": f"Bearer {keys.admin}"}
    with httpx.Client(base_url=f"{served.url}/console", trust_env=False, headers=headers, timeout=30) as client:
        listed = client.get("/models.json").json()
        assert listed["served"][0]["takes_instruction"] is False
        assert {model["name"]: model["is_usable"] for model in listed["registry"]["models"]} == {
            "med": True,
            FOREIGN: False,
        }
        shown = client.get("/models/med.json?a=1&b=2").json()
        assert [version["needs_force"] for version in shown["versions"]] == [True, False, False]
        assert {row["field"]: row["change"] for row in shown["differences"]}["metrics/nDCG@10"] == pytest.approx(0.01)
        record = client.get("/models/med/versions/1.json").json()["gate_record"]
        assert (record["signature"], record["unchanged"], record["checks"][0]["passed"]) == ("valid", True, True)
        assert client.get("/models/nobody.json").status_code == 404
        assert client.get("/models/med/versions/99.json").status_code == 404


def test_all_decisions_stand_on_one_page(
    browser: Browser, served: Served, keys: Keys, first: Registry, database: str
) -> None:
    with experiments(database) as store:
        store.start(Experiment("trial", "canary", "elsewhere", "org/name"), HOSTILE, "tried")
        decisions.stop(store, "trial", "lin (2)", HOSTILE)
    with watched(browser, served.url) as window:
        page = sign_in(window, keys.admin, "/models")
        page.get_by_role("link", name="All decisions").click()
        rows = page.locator("table.history tbody tr")
        expect(rows.first).to_contain_text("lin (2)")
        expect(page.get_by_text("the first", exact=True)).to_be_visible()
        window.check_accessible()
        page.get_by_label("About").select_option("model")
        page.get_by_label("Decision").select_option("promote")
        page.get_by_role("button", name="Apply").click()
        expect(rows.filter(has_text="rolled back")).to_have_count(0)
        expect(rows.filter(has_text="experiment")).to_have_count(0)
        expect(rows.filter(has_text="the first").first).to_be_visible()
        window.check()
    with httpx.Client(base_url=f"{served.url}/console", trust_env=False, timeout=30) as client:
        client.headers["authorization"] = f"Bearer {keys.tenant}"
        assert client.get("/history").status_code == client.get("/history.json").status_code == 403


def test_without_mlflow_the_served_models_are_shown(served: Served, keys: Keys, tracking: TrackingServer) -> None:
    """The last test of the server, which does not come back."""
    tracking.stop()
    headers = {"authorization": f"Bearer {keys.admin}"}
    with httpx.Client(base_url=f"{served.url}/console", trust_env=False, headers=headers, timeout=30) as client:
        away = client.get("/models.json").json()
        assert "cannot be reached" in away["registry"]["error"]["message"]
        assert away["served"][0]["loaded"]
        assert client.get("/models/med.json").status_code == 503
        assert "cannot be reached" in client.get("/history.json").json()["fault"]


def test_without_a_registry_it_says_how_to_set_one(browser: Browser, tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path), "RERANKD_MODELS": json.dumps({"more": "mini"})}
    with serve(env=env) as open_to_all, watched(browser, open_to_all.url) as window:
        page = window.open("/models")
        expect(page.get_by_text("No registry is set.")).to_be_visible()
        expect(page.locator("table.served tbody tr").nth(1)).to_contain_text("not loaded")
        window.check_accessible()
        window.check()
