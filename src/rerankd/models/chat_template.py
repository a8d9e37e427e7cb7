"""Chat templates of checkpoints: rendered once, in Jinja's sandbox, and divided into the texts of a prompt.

Does: what sentence-transformers does with a query and a document: two messages with the roles `query` and `document`,
and the instruction as a system message before them. Does not: conversations, tools, or media.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerankd._common.optional import install_command, require
from rerankd.errors import MissingDependencyError, UnsupportedModelError
from rerankd.models.template import PromptTemplate

QUERY, DOCUMENT, INSTRUCTION = "rerankd1query1text", "rerankd2document2text", "rerankd3instruction3text"
MAX_CHARACTERS = 200_000
_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template and what it is rendered with.

    Attributes:
        source: its text, in Jinja.
        variables: values by name, such as `eos_token` and `add_generation_prompt`.
        structured: True if the content of a message is a list of parts; None to see it from the source.
        instruction: system message of requests without an instruction of their own; None for none.
    """

    source: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    structured: bool | None = None
    instruction: str | None = None

    @property
    def names_roles(self) -> bool:
        """True if the source names the roles of a query and a document."""
        return all(f"'{role}'" in self.source or f'"{role}"' in self.source for role in ("query", "document"))


class _RenderError(Exception):
    """The template cannot be rendered for a query and a document."""


def prompt_of(chat: ChatTemplate, where: str) -> PromptTemplate | None:
    """Return the prompt of a chat template; None if it leaves out the query or the document, as most do.

    Args:
        chat: the template.
        where: name of the model, for error messages.

    Raises:
        UnsupportedModelError: the template writes a text twice, or the document before the query.
        MissingDependencyError: Jinja is not installed, or is too old to be safe.
    """
    try:
        plain = _texts(_render(chat, None), where)
    except _RenderError:
        return None
    strip = not plain[1]
    try:
        told = _texts(_render(chat, INSTRUCTION), where)[0]
        if not any(INSTRUCTION in text for text in told):
            told = plain[0]
    except _RenderError:
        told = plain[0]
    before, between, after = (tuple(text.split(INSTRUCTION)) for text in told)
    unchanged = told == plain[0] or chat.instruction is not None
    return PromptTemplate(
        before, between, after, chat.instruction, None if unchanged else plain[0], joined=True, strip=strip
    )


def _texts(rendered: str, where: str) -> tuple[tuple[str, str, str], bool]:
    """Return the texts around query and document, and whether spaces around the two are kept."""
    marks = [f" {mark} " for mark in (QUERY, DOCUMENT)]
    kept = [mark in rendered for mark in marks]
    if not any(kept):
        marks = [QUERY, DOCUMENT]
    counts = [rendered.count(mark.strip()) for mark in marks]
    if 0 in counts:
        raise _RenderError
    wrong = ""
    if counts != [1, 1]:
        wrong = "writes the query or the document more than once"
    elif any(kept) != all(kept):
        wrong = "removes the spaces around one of query and document"
    elif rendered.index(QUERY) > rendered.index(DOCUMENT):
        wrong = "writes the document before the query"
    if wrong:
        raise UnsupportedModelError(
            f"{where}: its chat template {wrong}, which rerankd does not support.",
            hint="Use a chat_template.jinja that writes the query once, and the document once behind it.",
        )
    before, rest = rendered.split(marks[0])
    between, after = rest.split(marks[1])
    return (before, between, after), all(kept)


def _render(chat: ChatTemplate, instruction: str | None) -> str:
    """Render the template with marks in place of the texts.

    Raises:
        _RenderError: it cannot be rendered.
    """
    jinja2 = require("jinja2", "torch", "Reading a chat template")
    sandbox = require("jinja2.sandbox", "torch", "Reading a chat template")
    if tuple(map(int, re.findall(r"\d+", jinja2.__version__)[:3])) < (3, 1, 6):
        raise MissingDependencyError(
            f"Reading a chat template needs jinja2 3.1.6, whose sandbox is safe; {jinja2.__version__} is installed.",
            hint=f"Run: {install_command('torch')}",
        )
    if len(chat.source) > MAX_CHARACTERS:
        raise _RenderError

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = refuse
    system = [] if instruction is None else [_message(chat, "system", instruction)]
    messages = [*system, _message(chat, "query", f" {QUERY} "), _message(chat, "document", f" {DOCUMENT} ")]
    given = {"tools": None, "documents": None, "add_generation_prompt": False, **chat.variables}
    try:
        return str(environment.from_string(chat.source).render(**{**given, "messages": messages}))
    except Exception as error:  # a template can fail in any way that Python can
        raise _RenderError from error


def _message(chat: ChatTemplate, role: str, text: str) -> dict[str, Any]:
    structured = chat.structured
    if structured is None:
        structured = any(pattern in chat.source for pattern in _STRUCTURED)
    content: str | Sequence[Mapping[str, str]] = [{"type": "text", "text": text}] if structured else text
    return {"role": role, "content": content}


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Return JSON as templates expect it, without the escapes that Jinja's own filter makes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)
