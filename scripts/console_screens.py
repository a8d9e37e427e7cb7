"""Screens of the console for the documentation: `python scripts/console_screens.py FOLDER`.

Starts `rerankd console --demo` with a language model that only recites, and writes a PNG of each page in English and
Chinese. Needs the development packages and Chromium; Chinese needs a font for it, such as fonts-wqy-microhei.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1280, "height": 800}
MAX_BYTES = 200_000
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
QUESTIONS = {"en": "what does it cost to repair a zip", "zh": "帐篷接缝漏水怎么修"}
ANSWERS = {
    "en": "A new zip costs 24 [1]. We name the price before we begin, and send the article back free of charge if you "
    "do not want the repair. The workshop also sharpens knives on Fridays.",
    "zh": "在接缝内侧薄薄刷一层密封胶，静置一夜即可 [1]。湿帐篷收纳不要超过一天，霉菌会侵蚀涂层。"
    "门店周五还提供磨刀服务。",
}
DETAILS = {"experiment": "/experiments/read-128"}
"""Pages that the navigation does not lead to."""


def is_chinese(text: str) -> bool:
    """Return True for a text with Han characters."""
    return re.search(r"[\u4e00-\u9fff]", text) is not None


class Reciter(BaseHTTPRequestHandler):
    """A chat endpoint with one answer in each language."""

    def do_POST(self) -> None:
        """Stream the answer in the language of the question."""
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        language = "zh" if is_chinese(json.loads(body)["messages"][1]["content"]) else "en"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for delta, reason in ((ANSWERS[language], None), ("", "stop")):
            choice = {"index": 0, "delta": {"content": delta}, "finish_reason": reason}
            self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name in the base class
        """Log nothing."""


@contextmanager
def language_model() -> Iterator[str]:
    """Serve the endpoint; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Reciter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@contextmanager
def console(llm_url: str) -> Iterator[str]:
    """Run the demo; yield the address of its console."""
    command = [sys.executable, "-m", "rerankd", "console", "--demo", "--port", "0"]
    command += ["--llm-url", llm_url, "--llm-model", "reciter", "--log-level", "warning"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            for line in process.stderr or ():
                if found := re.match(r"console +(http\S+)", line):
                    yield found[1]
                    break
            else:
                raise SystemExit("The demo did not start.")
        finally:
            process.terminate()


def addresses(page: Page, console_url: str, language: str) -> dict[str, str]:
    """Return the pages to show, by name: those of the navigation, and one level below."""
    page.goto(console_url)
    found = {}
    for link in page.locator("header nav a").all():
        path = str(link.get_attribute("href"))
        found[path.rpartition("/")[2]] = path
    found |= {name: f"/console{path}" for name, path in DETAILS.items() if "experiments" in found}
    found["ask"] = f"/console/ask?question={quote(QUESTIONS[language])}&threshold=0.05"
    traces = page.request.get(f"{console_url}/traces.json").json()["traces"]
    readable = [trace for trace in traces if is_chinese(str(trace["query"])) == (language == "zh")] or traces
    moved = max(readable, key=lambda trace: trace["top_before"])["id"]
    if "monitor" in found:
        found["monitor"] = "/console/monitor?window=30d"
    if "compare" in found:
        found["compare"] = f"/console/compare?trace={moved}"
    return found


def take(page: Page, address: str, path: Path) -> None:
    """Write the screen of a page, and say if it is larger than documentation should carry."""
    answer = page.goto(address, timeout=60_000)
    if answer is None or not answer.ok:
        print(f"{path.name}: {answer.status if answer else 'no answer'} at {address}", file=sys.stderr)
        return
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
    size = path.stat().st_size
    print(f"{path} {size / 1000:.0f} kB{' TOO LARGE' if size > MAX_BYTES else ''}")


def main() -> None:
    """Write the screens of all pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with language_model() as llm_url, console(llm_url) as console_url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        pages = {language: browser.new_page(locale=locale, viewport=SIZE) for language, locale in LOCALES.items()}  # type: ignore[arg-type]  # a typed dict
        shown = {language: addresses(page, console_url, language) for language, page in pages.items()}
        # The rankings of questions come last, since the other pages show every ranking.
        names = sorted(shown["en"], key=lambda name: name == "ask")
        for name in names:
            for language, page in pages.items():
                address = console_url.removesuffix("/console") + shown[language][name]
                take(page, address, folder / f"{name}.{language}.png")
        browser.close()


if __name__ == "__main__":
    main()
