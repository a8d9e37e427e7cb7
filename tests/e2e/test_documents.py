"""The documents say what is true: their blocks run, their links lead somewhere, both READMEs say the same."""

from __future__ import annotations

import contextlib
import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import command_lines

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARD = ROOT / "recipes/mini/CARD.md"
FENCES = re.compile(r"^ *```.*?^ *```", flags=re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page: Path) -> None:
    for block in blocks(page, "python"):
        completed = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, timeout=120, check=False
        )
        assert completed.returncode == 0, completed.stderr
        assert completed.stdout.strip()


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings and of its own anchors, as GitHub makes them."""
    text = FENCES.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", html.unescape(heading)).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = next(number for number in range(1000) if (f"{name}-{number}" if number else name) not in found)
        found.add(f"{name}-{number}" if number else name)
    return found


@pytest.mark.parametrize("page", [*PAGES, CARD], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCES.sub("", page.read_text(encoding="utf-8")))
    links = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text) + re.findall(
        r"^\[[^\]]+\]: (\S+)", text, flags=re.M
    )
    lost = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("page", [*PAGES, CARD], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_those_of_the_program(page: Path) -> None:
    wrong = []
    for line in command_lines.command_lines(page):
        try:
            command_lines.check(line)
        except command_lines.WrongCommandError as error:
            wrong.append(str(error))
    assert not wrong


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("$ rerankd rank 'a b' - --top-n 3  # a comment | nothing", ["rank", "a b", "-", "--top-n", "3"]),
        ("$ A=1 B='x y' rerankd serve", ["serve"]),
        ("rerankd traces list \\\n    --json | head > x", ["traces", "list", "--json"]),
        ("$ cat x | rerankd rank q - > out && ls", ["rank", "q", "-"]),
    ],
)
def test_command_lines_are_found(text: str, arguments: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```console\n{text}\n```\n")
    assert [line.arguments for line in command_lines.command_lines(page)] == [arguments]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("rerankd rank q documents.txt --top-n 3", True),
        ("rerankd traces list --limit many", False),
        ("rerankd rank q", False),
        ("rerankd rank q documents.txt more", False),
        ("rerankd rank q documents.txt --format train --nonsense", False),
        ("rerankd cases export --format train", False),
        ("rerankd cases exports", False),
        ("rerankd cases state 17 done", False),
        ("rerankd cases state 17 fixed", True),
        ("rerankd feedback import not-there.csv", True),
        ("rerankd --version", True),
    ],
)
def test_wrong_command_lines_are_refused(text: str, right: bool) -> None:
    line = command_lines.CommandLine(text, text.split()[1:], complete=True)
    with contextlib.nullcontext() if right else pytest.raises(command_lines.WrongCommandError):
        command_lines.check(line)


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
