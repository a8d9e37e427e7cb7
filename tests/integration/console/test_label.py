"""Labelling in a real browser: by keys alone, by mouse, and by two people."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from rerankd.feedback.case_store import add_cases, get_case, list_cases
from rerankd.feedback.detectors import Detection
from rerankd.feedback.label_store import read_labels
from rerankd.feedback.retention import RetentionPolicy, erase_tenant, prune
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.integration.console.browser import Watched, watched
from tests.integration.console.label_site import HOSTILE, LONG, Labelled, add_ranking, open_labelled
from tests.program import rerankd
from tests.unit.traces.rankings import ranking


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelled]:
    with open_labelled(tmp_path_factory.mktemp("label")) as running:
        yield running


@pytest.fixture
def labelled(opened: Labelled) -> Labelled:
    """Return the server without keys and without rankings."""
    for tenant in ("", HOSTILE):
        erase_tenant(opened.store, tenant)
    return opened


def sign(window: Watched, name: str, label: str = "Your name") -> Page:
    """Open the queue and type a name, with the keyboard."""
    page = window.open("/label")
    page.get_by_label(label).focus()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.get_by_text(name, exact=True)).to_be_visible()
    return page


def expect_ranking(page: Page, path: str) -> None:
    """Wait until a ranking is shown and its keys work."""
    expect(page).to_have_url(re.compile(f"/console/label/{path}([?#].*)?$"))
    expect(page.locator("#documents [aria-current=true]")).to_have_count(1)


def pressed(page: Page, index: int) -> list[str]:
    """Return the grades of a document whose buttons are pressed."""
    buttons = page.locator(f"#d{index} button[aria-pressed=true]")
    return [button.get_attribute("value") or "" for button in buttons.all()]


def test_keys_alone_label_undo_skip_and_go_on(browser: Browser, labelled: Labelled) -> None:
    mild, severe = add_ranking(labelled.store, "mild", 1.0), add_ranking(labelled.store, "severe", 5.0)
    close, wide = (add_ranking(labelled.store, name, margin=margin) for name, margin in (("close", 0.1), ("wide", 2)))
    with watched(browser, labelled.url) as window:
        page = sign(window, "Ann")
        window.check_accessible()
        page.keyboard.press("n")
        expect_ranking(page, f"case/{severe}")
        current = page.locator("#documents [aria-current=true]")
        expect(current).to_have_attribute("data-position", "0")
        saved = page.get_by_role("status")
        page.keyboard.press("3")
        expect(saved).to_have_text("Saved: the document at rank 1 has grade 3.")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("j")
        expect(current).to_be_focused()
        page.keyboard.press("1")
        expect(saved).to_contain_text("rank 3 has grade 1")
        page.keyboard.press("k")
        for grade in "0123":  # the last of several quick grades stays
            page.keyboard.press(grade)
        expect(saved).to_contain_text("rank 2 has grade 3")
        expect(page.locator("#coverage .number")).to_have_text("3 / 10")
        page.keyboard.press("u")
        expect(saved).to_have_text("Undone: the document at rank 2 has grade 2 again.")
        page.reload()
        assert [pressed(page, index) for index in range(4)] == [["3"], ["2"], ["1"], []]
        expect(current).to_have_attribute("data-position", "3")
        page.keyboard.press("Control+z")
        expect(page.locator("#d1 button[aria-pressed=true]")).to_have_text("1")
        expect(current).to_have_attribute("data-position", "1")
        page.keyboard.press("Backspace")
        expect(saved).to_contain_text("no grade of yours")
        window.check_accessible()
        page.keyboard.press("n")
        expect_ranking(page, f"case/{mild}")
        page.keyboard.press("s")
        page.keyboard.type("n0123 is not mine")  # keys in a field are text
        page.keyboard.press("Enter")
        expect_ranking(page, str(close))
        page.keyboard.press("ArrowUp")
        page.keyboard.press("0")
        expect(saved).to_contain_text("rank 1 has grade 0")
        page.keyboard.press("n")
        expect_ranking(page, str(wide))
        page.keyboard.press("n")
        expect(page).to_have_url(f"{labelled.url}/console/label")
        expect(page.get_by_text("n0123 is not mine")).to_be_visible()
        window.check()
    assert get_case(labelled.store, severe).grades == {0: 3, 2: 1}
    assert get_case(labelled.store, mild).grades == {}
    case = next(case for case in list_cases(labelled.store) if case.request_id == "close")
    assert (case.state, case.grades) == ("labelled", {0: 0})


def test_in_chinese(browser: Browser, labelled: Labelled) -> None:
    number = add_ranking(labelled.store, "案例", 2.0)
    with watched(browser, labelled.url, locale="zh-CN") as window:
        page = sign(window, "李伟", "您的姓名")
        expect(page.get_by_role("heading", level=1)).to_have_text("标注")
        page.keyboard.press("n")
        expect_ranking(page, f"case/{number}")
        page.keyboard.press("2")
        expect(page.get_by_role("status")).to_have_text("已保存：第 1 名文档的等级为 2。")
        page.keyboard.press("u")
        expect(page.get_by_role("status")).to_have_text("已撤销：第 1 名文档不再有您的等级。")
        page.keyboard.press("j")
        page.keyboard.press("1")
        expect(page.get_by_role("status")).to_contain_text("第 2 名文档")
        window.check_accessible()
        window.check()
    labels = read_labels(labelled.store, [number])[number]
    assert [(each.position, each.labeller, each.grade) for each in labels] == [(1, "李伟", 1)]


def test_a_grade_that_is_not_saved_is_named_and_can_be_saved_again(browser: Browser, labelled: Labelled) -> None:
    number = add_ranking(labelled.store, "failing")
    with watched(browser, labelled.url, allow=("Failed to load resource",)) as window:
        page = window.open(f"/label/{number}")
        page.keyboard.press("2")
        expect(page.get_by_role("alert")).to_have_text("Not saved: enter your name at the top of the page first.")
        sign(window, "Ann")
        window.open(f"/label/{number}")
        page.route("**/grade", lambda route: route.abort())
        page.locator("#d1").get_by_role("button", name="2: relevant").click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("Not saved: grade 2 of the document at rank 2. The service cannot be reached.")
        assert pressed(page, 1) == []
        page.get_by_role("link", name="Next").click()
        expect(alert).to_contain_text("press N once more")
        page.unroute("**/grade")
        alert.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("status")).to_contain_text("rank 2 has grade 2")
        assert pressed(page, 1) == ["2"]
        erase_tenant(labelled.store, "")  # while somebody looks at it
        page.keyboard.press("3")
        expect(alert).to_contain_text("Not saved: grade 3 of the document at rank 2. There is no trace")
        window.check()


def test_the_command_line_and_the_page_share_labels(browser: Browser, labelled: Labelled) -> None:
    number = add_ranking(labelled.store, "shared", 1.0)

    def cases(*words: str) -> str:
        completed = rerankd("cases", *words, "--traces-url", labelled.database)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    cases("label", str(number), "--relevant", "1=3,2=7", "--irrelevant", "0", "--labeller", "Bo")
    with watched(browser, labelled.url) as window:
        sign(window, "Ann")
        page = window.open(f"/label/case/{number}")
        expect(page.locator("#d1 [data-part=others]")).to_have_text("Bo: 3")
        expect(page.locator("#d2 [data-part=decided]")).to_have_text("counts as 7")
        page.keyboard.press("2")  # the first document that Ann did not grade
        expect(page.locator("#d0 [data-part=decided]")).to_have_text("counts as 0")
        window.check()
    cases("label", str(number), "--relevant", "0=2", "--labeller", "Cy")
    (shown,) = (json.loads(line) for line in cases("show", str(number), "--json").splitlines())
    assert [candidate["grade"] for candidate in shown["candidates"]][:3] == [2, 3, 7]
    assert [(each["labeller"], each["grade"]) for each in shown["labels"] if each["position"] == 0] == [
        ("Bo", 0),
        ("Ann", 2),
        ("Cy", 2),
    ]
    with httpx.Client(base_url=labelled.url, trust_env=False) as client:
        content = client.get(f"/console/label/case/{number}.json").json()
        assert [document["decided"] for document in content["documents"]][:3] == [2, 3, 7]
        client.post(f"/v1/cases/{number}", json={"labels": [{"index": 5, "grade": 1}]})
        (sixth,) = (each for each in client.get(content["address"] + ".json").json()["documents"] if each["index"] == 5)
        assert (sixth["decided"], sixth["others"]) == (1, [{"labeller": "", "grade": 1}])


def test_two_labellers_agree_and_their_labels_are_exported(
    browser: Browser, labelled: Labelled, tmp_path: Path
) -> None:
    number = add_ranking(labelled.store, "both", 1.0)
    for name, keys in (("Ann", "30121"), ("Bo", "30112")):
        with watched(browser, labelled.url) as window:
            sign(window, name)
            page = window.open("/label?queue=second" if name == "Bo" else "/label")
            page.keyboard.press("n")
            expect_ranking(page, f"case/{number}")
            if name == "Bo":
                expect(page.locator("#d0 [data-part=others]")).to_have_text("labelled by others too")
            page.get_by_label("Move on after each grade").check()
            for key in keys:
                page.keyboard.press(key)
            expect(page.locator("#coverage .number")).to_have_text("5 / 10")
            expect(page.get_by_role("status")).to_contain_text("rank 5 has grade")
            expect(page.locator("#d4 [data-part=others]")).to_have_text("Ann: 1" if name == "Bo" else "")
            window.check()
    with watched(browser, labelled.url) as window:
        page = window.open("/label")
        page.get_by_role("link", name="See where they differ").click()
        expect(page.get_by_text("5 documents graded by both")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(2)
        window.check_accessible()
        window.open("/label")
        with page.expect_download() as download:
            page.get_by_role("link", name="BEIR folder").click()
        archive = zipfile.ZipFile(download.value.path())
        with page.expect_download() as download:
            page.get_by_role("link", name="Training lines").click()
        lines = download.value.path().read_text()
        window.check()
    command = ["cases", "export", "--beir", str(tmp_path / "beir"), "--training", str(tmp_path / "lines")]
    assert rerankd(*command, "--traces-url", labelled.database).returncode == 0
    written = {str(path.relative_to(tmp_path / "beir")): path for path in (tmp_path / "beir").rglob("*.*")}
    assert set(archive.namelist()) == set(written)
    assert all(archive.read(name) == path.read_bytes() for name, path in written.items())
    assert list(map(json.loads, lines.splitlines())) == [json.loads((tmp_path / "lines").read_text())]
    grades = [row.split("\t")[2] for row in archive.read("qrels/test.tsv").decode().splitlines()[1:]]
    assert grades == ["3", "0", "1", "1", "1"]


def test_a_case_is_labelled_when_its_trace_is_gone(browser: Browser, labelled: Labelled) -> None:
    number = add_ranking(labelled.store, "gone", 1.0)
    prune(labelled.store, RetentionPolicy(seconds=1e-9))
    with watched(browser, labelled.url) as window:
        sign(window, "Ann")
        page = window.open(f"/label/case/{number}")
        expect(page.get_by_text("its trace was deleted")).to_be_visible()
        page.keyboard.press("1")
        expect(page.get_by_role("status")).to_contain_text("rank 1 has grade 1")
        window.check()
    assert get_case(labelled.store, number).grades == {0: 1}


def test_hostile_texts_are_text(browser: Browser, labelled: Labelled) -> None:
    documents = [Document(HOSTILE, HOSTILE), Document(LONG, LONG[:500]), Document(HOSTILE * 30)]
    record = ranking(HOSTILE + LONG, documents, (3, 2, 1), request_id=HOSTILE, tenant=HOSTILE, model=HOSTILE)
    labelled.store.write([build_trace(record)])
    (full,) = labelled.store.load(labelled.store.list_traces(limit=1))
    add_cases(labelled.store, full, [Detection("manual", 0, 9.0, HOSTILE)])
    number = list_cases(labelled.store)[0].id
    with watched(browser, labelled.url) as window:
        page = window.open("/label")
        page.get_by_label("Your name").fill("<img src=x onerror=alert(3)>")
        page.keyboard.press("Enter")
        expect(page.get_by_text("<img src=x onerror=alert(3)>")).to_be_visible()
        for path in (f"/label/{full.trace.id}", f"/label/case/{number}"):
            window.open(path)
            page.keyboard.press("1")
            expect(page.get_by_role("status")).to_contain_text("Saved")
            expect(page.locator("#d0 .text").first).to_contain_text("<script>alert(1)</script>")
            assert page.locator("main script:not([type]), main img").count() == 0
        window.check_accessible()
        page.keyboard.press("s")
        page.keyboard.insert_text(HOSTILE.replace("\x1b", ""))
        page.keyboard.press("Enter")
        expect(page.get_by_text("onerror=alert(2)").last).to_be_visible()
        window.check()
        with watched(browser, labelled.url) as other:
            sign(other, "Bo")
            other.open(f"/label/{full.trace.id}?queue=second")
            other.page.keyboard.press("0")
            expect(other.page.locator("#d0 [data-part=others]")).to_contain_text("<img src=x")
            other.open("/label/agreement")
            expect(other.page.locator("tbody tr")).to_have_count(1)
            other.check()


def test_a_change_needs_the_token_of_the_session(labelled: Labelled) -> None:
    number = add_ranking(labelled.store, "token")
    with httpx.Client(base_url=labelled.url, trust_env=False) as client:
        client.get("/console/label")
        for action in ("grade", "undo", "skip"):
            answer = client.post(f"/console/label/{number}/{action}", data={"position": "0", "grade": "1"})
            assert answer.status_code == 403, action
        assert client.post("/console/label/name", data={"name": "x"}).status_code == 403
    assert list_cases(labelled.store) == []


def test_without_scripts_a_grade_is_a_form(labelled: Labelled) -> None:
    number = add_ranking(labelled.store, "plain")
    with httpx.Client(base_url=labelled.url, trust_env=False, follow_redirects=True) as client:
        found = re.search('name="csrf_token" value="([^"]+)"', client.get("/console/label").text)
        assert found is not None
        token = {"csrf_token": found[1]}
        client.post("/console/label/name", data={**token, "name": " 李伟 ", "next": f"/console/label/{number}"})
        graded = client.post(f"/console/label/{number}/grade?shown=3", data={**token, "position": "2", "grade": "3"})
        assert str(graded.url) == f"{labelled.url}/console/label/{number}?shown=3#d2"
        content = client.get(f"/console/label/{number}.json?shown=3").json()
        assert [document["grade"] for document in content["documents"]] == [None, None, 3]
        assert (content["labeller"], content["total"], content["undo"]) == ("李伟", 12, 1)
        assert content["more"] == f"/console/label/{number}?shown=12"
        client.post(f"/console/label/{number}/undo", data=token)
        refused = client.post(
            f"/console/label/{number}/grade",
            data={**token, "position": "2", "grade": "4"},
            headers={"accept": "application/json"},
        )
        assert refused.status_code == 400
        assert "grade" in refused.text
    assert list_cases(labelled.store) == []


def test_texts_that_json_cannot_hold(labelled: Labelled) -> None:
    record = ranking("a\ud800", [Document("b\udc00"), Document("c")], (1, 0), request_id="lone", tenant="")
    labelled.store.write([build_trace(record)])
    (trace,) = labelled.store.list_traces(limit=1)
    with httpx.Client(base_url=labelled.url, trust_env=False) as client:
        for address in ("label", f"label/{trace.id}"):
            assert client.get(f"/console/{address}").status_code == 200
            assert "a\ufffd" in client.get(f"/console/{address}.json").text


@pytest.mark.parametrize("path", ["label/x", "label/case/0", f"label/{'9' * 5000}", "label/-1", "label/case/9.5"])
def test_addresses_of_nothing(path: str, opened: Labelled) -> None:
    with httpx.Client(base_url=opened.url, trust_env=False) as client:
        assert client.get(f"/console/{path}").status_code == 404
        assert client.get(f"/console/{path}.json").status_code == 404


@pytest.mark.parametrize("query", ["queue=x", "after_case=-1", "after_trace=99999999999999999999"])
def test_parameters_that_are_not_valid(query: str, opened: Labelled) -> None:
    with httpx.Client(base_url=opened.url, trust_env=False) as client:
        assert client.get(f"/console/label?{query}").status_code == 400
        assert client.get(f"/console/label/1?shown={10**9}").status_code == 400
