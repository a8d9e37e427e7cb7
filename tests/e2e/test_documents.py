"""The documents say what is true: their blocks run, their links lead somewhere, both READMEs say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/explanation").glob("*.md")),
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path) -> None:
    for block in blocks(page, "python"):
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "recipes/mini/CARD.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_commands_in_the_readme_exist() -> None:
    targets = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for page in PAGES[:2]:
        text = page.read_text(encoding="utf-8")
        for target in set(re.findall(r"\bmake ([a-z]+)", text)) - {"help"}:
            assert re.search(rf"^{target}\b", targets, flags=re.MULTILINE), target


def test_both_readmes_have_the_same_parts() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in PAGES[:2])
    for pattern in (r"^#+ ", r"^```\w+", r"^\| ", r"<!-- \w+ -->", r"^\$ rerankd \w+"):
        counts = [len(re.findall(pattern, text, flags=re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], pattern
