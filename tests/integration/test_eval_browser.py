"""Reports in a real browser: drawn offline, and nothing asked of anybody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import shared
from tests.program import rerankd
from tests.unit.evaluation.folders import write_folder

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1180,3000",
)  # fmt: skip

BROWSER = "not an origin"  # who asks for updates and the like: the browser itself, no page


@pytest.fixture(scope="module")
def chromium() -> str:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Chromium is not installed: apt-get install chromium.")
    return str(program)


def evaluated(data: Path, report: Path, *arguments: str) -> None:
    """From nothing to a report in one command."""
    completed = rerankd("eval", "--data", str(data), "--html", str(report), *arguments)
    assert completed.returncode == 0, completed.stderr


def opened(chromium: str, page: Path, tmp_path: Path) -> tuple[Image.Image, list[str]]:
    """Return a screenshot of the page and the addresses requested while it was shown."""
    log, picture = tmp_path / "net.json", tmp_path / "page.png"
    log.unlink(missing_ok=True)
    command = [chromium, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}",
               f"--screenshot={picture}", page.as_uri()]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    text = log.read_text()
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")["events"]
    urls = {str(parameters["url"]) for parameters in (event.get("params", {}) for event in events)
             if "url" in parameters and parameters.get("initiator", BROWSER) != BROWSER}  # fmt: skip
    return Image.open(picture).convert("RGB"), sorted(url for url in urls if not url.startswith("file:"))


def test_the_log_would_show_a_request(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://evil.example/spy.png">')
    assert opened(chromium, page, tmp_path)[1] == ["http://evil.example/spy.png"]


def test_a_report_opens_offline_without_a_request(chromium: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny")
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text(encoding="utf-8").replace("Paris", "<img src=http://evil.example/x.png> Paris"))
    evaluated(folder, tmp_path / "report.html")
    picture, urls = opened(chromium, tmp_path / "report.html", tmp_path)
    assert urls == []
    colours = {colour for _, colour in picture.getcolors(maxcolors=1 << 24) or []}
    assert {(0x17, 0x69, 0xC2), (0x1F, 0x70, 0x46)} <= colours, "bars of gains, lines of relevant documents"


def test_a_pack_becomes_a_report_in_one_command(chromium: str, tmp_path: Path) -> None:
    evaluated(shared("data", "dev", "dureader-zh"), tmp_path / "report.html", "--max-queries", "6", "--depth", "10")
    picture, urls = opened(chromium, tmp_path / "report.html", tmp_path)
    assert urls == []
    assert len(picture.getcolors(maxcolors=1 << 24) or []) > 50
    assert "dureader-zh" in (tmp_path / "report.html").read_text(encoding="utf-8")
