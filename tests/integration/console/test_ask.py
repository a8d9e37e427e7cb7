"""Questions to the index in a real browser: stages, passages, citations, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from tests.integration.console.browser import watched
from tests.integration.index_program import run
from tests.integration.serving import Served, serve, until

CHAT = (str(Path(__file__).parents[1] / "chat_server.py"),)
CONSOLE = ("-m", "rerankd", "console")
WARRANTY = "手机的保修期为一年，自购买之日起计算。"
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> warranty \u202egnol\u202c"
    " \u200b\x1b[31mred\x1b[0m"
)
QUESTION = "手机保修多久"


@pytest.fixture(scope="module")
def llm() -> Iterator[Served]:
    with serve(program=CHAT) as served:
        yield served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ask")
    (root / "docs").mkdir()
    (root / "docs" / "warranty.md").write_text(f"# 保修\n\n{WARRANTY}\n\n# Returns\n\nGoods may be returned unused.")
    (root / "docs" / "copy.txt").write_text(f"保修\n{WARRANTY}")
    (root / "docs" / "hostile.txt").write_text(f"{HOSTILE}\n{'warranty' * 5000}")
    (root / "rules.yaml").write_text("rules:\n  - name: words\n    synonyms: [保修, 质保]\n")
    run("index", "docs", "--index", "index", cwd=root)
    return root


@pytest.fixture(scope="module")
def served(folder: Path, llm: Served) -> Iterator[Served]:
    env = {
        "RERANKD_INDEX": str(folder / "index"),
        "RERANKD_LLM_URL": f"{llm.url}/v1",
        "RERANKD_LLM_MODEL": "good",
        "RERANKD_SEARCH_THRESHOLD": "0.05",
        "RERANKD_RULES": str(folder / "rules.yaml"),
    }
    with serve(env=env, program=CONSOLE) as running:
        yield running


def ask(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.keyboard.press("Enter")
    page.wait_for_url("**/ask?question=*")


def test_an_answer_is_streamed_and_its_citation_lights_up_the_passage(browser: Browser, served: Served) -> None:
    with watched(browser, served.url) as window:
        page = window.open("/ask")
        window.check_accessible()
        ask(page, QUESTION)
        expect(page.locator(".said")).to_have_text("一年，即十二个月 1。")
        expect(page.get_by_role("status")).to_have_text("Written by good")
        expect(page.locator(".findings")).to_contain_text("Passages support every sentence.")
        expect(page.locator(".stages")).to_contain_text("质保")
        expect(page.locator(".stages li").nth(1)).to_contain_text("ms")
        expect(page.get_by_role("cell", name="duplicate of")).to_have_count(1)
        cited, passage = page.get_by_label("Passage 1", exact=True), page.locator("#passage-1")
        expect(passage).to_contain_text(WARRANTY)
        cited.hover()
        expect(passage).to_have_class("card lit")
        page.mouse.move(0, 0)
        expect(passage).to_have_class("card")
        cited.focus()
        expect(passage).to_have_class("card lit")
        page.keyboard.press("Enter")
        expect(passage).to_be_focused()
        assert page.url.endswith("#passage-1")
        page.get_by_text("The prompt:").click()
        expect(page.locator("[data-prompt]")).to_contain_text(f"Question: {QUESTION}")
        window.check_accessible()
        window.check()


def test_the_page_in_chinese(browser: Browser, served: Served) -> None:
    with watched(browser, served.url, locale="zh-CN") as window:
        page = window.open("/ask")
        ask(page, QUESTION)
        expect(page.locator(".findings")).to_contain_text("每个句子都有段落支持。")
        expect(page.locator(".stages")).to_contain_text("已扩展同义词")
        window.check()


def test_hostile_texts_are_shown_as_text(browser: Browser, served: Served) -> None:
    with watched(browser, served.url) as window:
        page = window.open("/ask")
        ask(page, f"warranty {HOSTILE}")
        expect(page.locator(".passages")).to_contain_text("<script>")
        expect(page.locator(".said")).not_to_be_empty()
        assert "owned" not in page.title()
        window.check_accessible()
        window.check()


def test_the_options_of_the_address_are_used_and_kept(browser: Browser, served: Served) -> None:
    with watched(browser, served.url) as window:
        page = window.open(f"/ask?question={QUESTION}&threshold=1&k=3")
        expect(page.locator(".notice[role=status]")).to_contain_text("No passage reaches the threshold")
        expect(page.get_by_label("Candidates (k)")).to_have_value("3")
        window.check()
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client:
        body = client.get("/console/ask.json", params={"question": QUESTION, "top_n": 1, "k": 2}).json()
        assert (body["search"]["kept"], body["search"]["retrieved"]) == (1, 2)
        assert body["prompt"]["tokens"] > 100
        for wrong in ({"k": "0"}, {"threshold": "2"}, {"fusion": "x"}, {"question": "x" * 4001}):
            assert client.get("/console/ask.json", params={"question": "x"} | wrong).status_code == 400


def test_the_ranking_opens_in_the_comparison(browser: Browser, served: Served) -> None:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client:
        body = client.get("/console/ask.json", params={"question": QUESTION}).json()
        address = f"/console/ask/ranking/{body['search']['request_id']}"
        until(lambda: client.get(address).status_code == 303, "stored", 20)  # a trace is written within a second
        assert client.get(address).headers["location"].startswith("/console/compare?trace=")
        assert client.get("/console/ask/ranking/nothing").status_code == 404


@pytest.mark.parametrize(("model", "message"), [("forbidden", "llm_api_key"), ("midway", "broke off in the middle")])
def test_a_failure_of_the_language_model_is_said(
    browser: Browser, folder: Path, llm: Served, model: str, message: str
) -> None:
    env = {"RERANKD_INDEX": str(folder / "index"), "RERANKD_LLM_URL": f"{llm.url}/v1", "RERANKD_LLM_MODEL": model}
    with serve("--search-threshold", "0.05", env=env) as served, watched(browser, served.url) as window:
        page = window.open(f"/ask?question={QUESTION}")
        expect(page.get_by_role("alert")).to_contain_text(message)
        expect(page.locator("#passage-1")).to_be_visible()
        window.check()


def test_what_is_missing_is_said_with_its_command(browser: Browser, tmp_path: Path) -> None:
    with (
        serve(env={"RERANKD_INDEX": str(tmp_path / "none")}, program=CONSOLE) as served,
        watched(browser, served.url) as window,
    ):
        page = window.open("/ask")
        expect(page.locator("pre").first).to_contain_text("--llm-url")
        ask(page, "anything")
        expect(page.get_by_role("alert")).to_contain_text("rerankd index")
        window.check_accessible()
        window.check()


def test_another_key_cannot_go_on_with_a_question(folder: Path, llm: Served, tmp_path: Path) -> None:
    keys = [new_key(name) for name in ("first", "second")]
    write_keys(tmp_path / "keys.json", [key for _, key in keys])
    env = {
        "RERANKD_INDEX": str(folder / "index"),
        "RERANKD_API_KEYS_FILE": str(tmp_path / "keys.json"),
        "RERANKD_LLM_URL": f"{llm.url}/v1",
        "RERANKD_LLM_MODEL": "good",
        "RERANKD_SEARCH_THRESHOLD": "0.05",
    }
    with serve(env=env) as served, httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client:
        assert client.get("/console/ask.json").status_code == 401
        first, second = ({"authorization": f"Bearer {clear}", "accept": "application/json"} for clear, _ in keys)
        body = client.get("/console/ask.json", params={"question": QUESTION}, headers=first).json()
        number = body["search"]["request_id"]
        assert client.get(f"/console/ask/ranking/{number}", headers=second).status_code == 404
        form = {"question": QUESTION, "search": number}
        same = client.post("/console/ask/answer", data=form, headers=first).json()
        other = client.post("/console/ask/answer", data=form, headers=second).json()
        assert same["search"]["request_id"] == number
        assert other["search"]["request_id"] != number
        assert same["answer"]["citations"] == [1]


def test_a_question_is_charged_to_its_key(folder: Path, tmp_path: Path) -> None:
    clear, key = new_key("team", tokens_per_minute=300)
    write_keys(tmp_path / "keys.json", [key])
    env = {"RERANKD_INDEX": str(folder / "index"), "RERANKD_API_KEYS_FILE": str(tmp_path / "keys.json")}
    headers = {"authorization": f"Bearer {clear}"}
    with serve(env=env) as served, httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client:

        def status(question: str) -> int:
            return client.get("/console/ask.json", params={"question": question}, headers=headers).status_code

        assert [status("the warranty") for _ in range(8)] == [200] * 8  # the cache answers all but the first
        assert 429 in [status(f"the warranty, number {number}") for number in range(20)]
