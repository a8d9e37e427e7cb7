"""The blocks of a document in the making, each under the headings that are open at its place."""

from __future__ import annotations

import re

from rerankd.retrieval.splitting import Block

MAX_HEADING = 200
# What programs write where nobody gave a title.
_NO_TITLE = re.compile(
    r"\(?(?:anonymous|unspecified|unknown|no title|untitled(?:[ _-]?(?:document|presentation|page|design))?|unbenannt|"
    r"ohne titel|sans titre|sin título|senza titolo|sem título|без названия|无标题|未命名|無題|无题|제목 없음|new page|"
    r"document|dokument|文档|演示文稿|presentation|powerpoint(?: presentation|-präsentation)?)"
    r"[ _-]?\d{0,3}\)?",
    re.IGNORECASE,
)


class Outline:
    """Collects blocks and headings; a heading without any text below it becomes a block, so that it can be found.

    Example:
        >>> outline = Outline()
        >>> outline.heading(1, "Kettles")
        >>> outline.add("Descale them monthly.")
        >>> outline.heading(1, "Ovens")
        >>> [(block.text, block.headings) for block in outline.finish()]
        [('Descale them monthly.', ('Kettles',)), ('Ovens', ())]
    """

    def __init__(self) -> None:
        self.title = ""
        self._blocks: list[Block] = []
        self._open: list[tuple[int, str, int]] = []  # level, title and line
        self._written = 0  # number of open headings that a block carries already

    def heading(self, level: int, title: str, line: int = 0) -> None:
        """Open a heading, and close those of its level and below.

        Args:
            level: 1 for the highest; 0 for a document's title.
            title: its text; one that is too long for a heading is kept as a block too.
            line: its line of the file, from 1; 0 in formats without lines.
        """
        self._close(level)
        title = spaced(title)
        if not title:
            return
        if len(title) > MAX_HEADING:
            self.add(title, line=line)
        self._open.append((level, title[:MAX_HEADING], line))
        self.title = self.title or title[:MAX_HEADING]
        if len(title) > MAX_HEADING:
            self._written = len(self._open)

    def add(self, text: str, header_lines: int = 0, line: int = 0) -> None:
        """Add a block, which begins on a line of the file, under the open headings; blank text is ignored."""
        if text.strip():
            headings = tuple(title for _, title, _ in self._open)
            self._blocks.append(Block(text, headings, header_lines=header_lines, line=line))
            self._written = len(self._open)

    def finish(self) -> list[Block]:
        """Close all headings and return the blocks."""
        self._close(0)
        return self._blocks

    def _close(self, level: int) -> None:
        while self._open and self._open[-1][0] >= level:
            _, title, line = self._open.pop()
            if len(self._open) >= self._written:
                self.add(title, line=line)
            self._written = min(self._written, len(self._open))


def given_title(text: str) -> str:
    """Return the title that a file gives in its properties; empty for what a program writes where there is none.

    Example:
        >>> given_title("Boiler  manual"), given_title("(anonymous)"), given_title("Untitled-1")
        ('Boiler manual', '', '')
    """
    title = spaced(text)
    return "" if _NO_TITLE.fullmatch(title) else title


def spaced(text: str) -> str:
    """Return a text with single spaces, without line breaks."""
    return " ".join(text.split())
