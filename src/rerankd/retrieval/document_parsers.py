"""Parsers of plain text and Markdown. A file gives one document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rerankd._common.optional import require
from rerankd.retrieval.decoding import decode
from rerankd.retrieval.front_matter import split_front_matter
from rerankd.retrieval.outline import Outline
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.splitting import Block

# Colours and titles of terminals, as in logs: they would join the words beside them.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\))")


def parse_text(path: Path) -> ParsedDocument:
    """Parse plain text: a paragraph is a block."""
    blocks: list[Block] = []
    line = 1
    for part in re.split(r"(\n\s*\n)", _TERMINAL.sub("", _decoded(path))):
        if part.strip():
            blocks.append(Block(part, line=line))
        line += part.count("\n")
    return ParsedDocument(blocks)


def parse_markdown(path: Path) -> ParsedDocument:
    """Parse Markdown; blocks are slices of the source, so that code and tables keep their form.

    The front matter becomes metadata; its title stands above the text if the text has no heading of the first level.
    Front matter that is not valid is read as far as it can be, else as text; a note says how.

    Raises:
        MissingDependencyError: the extra `rag` is not installed.
    """
    markdown_it: Any = require("markdown_it", "rag", "Reading Markdown")
    source_text = _decoded(path)
    front = split_front_matter(source_text)
    metadata, text = front.values, front.text
    first = source_text.count("\n") - text.count("\n") + 1  # line of the file on which the text begins
    lines = text.split("\n")  # as markdown-it; splitlines() would split at form feeds and U+2028 too
    outline = Outline()
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    if not any(token.type == "heading_open" and token.tag == "h1" and not token.level for token in tokens):
        outline.heading(0, str(metadata.get("title") or ""))
    outline.add(front.unread, line=2)
    end = 0  # of the lines that were read
    for position, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        # What belongs to no block, such as definitions of links.
        outline.add("\n".join(lines[end : token.map[0]]), line=first + end)
        end = token.map[1]
        if token.type == "heading_open":
            outline.heading(int(token.tag[1]), tokens[position + 1].content, first + token.map[0])
        elif token.type != "hr":
            source = "\n".join(lines[token.map[0] : end])
            header_lines = 2 if token.type == "table_open" else 0
            outline.add(source, header_lines, line=first + token.map[0])
    outline.add("\n".join(lines[end:]), line=first + end)
    if outline.title:
        metadata = {"title": outline.title} | metadata
    return ParsedDocument(outline.finish(), metadata=metadata, notes=front.notes)


def _decoded(path: Path) -> str:
    return decode(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
