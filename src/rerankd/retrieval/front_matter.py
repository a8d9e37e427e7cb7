"""Front matter: the YAML or TOML mapping at the top of a Markdown file.

Values that YAML or TOML refuse although a reader understands them, as in `title: Backup: the notes`, are read as plain
text, and a note says so. What cannot be read even so stays text of the document.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rerankd._common.optional import require

_YAML = re.compile(r"---[ \t]*\n(?P<body>(?:(?!---|\.\.\.)\S.*\n)?(?:.*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_TOML = re.compile(r"\+\+\+[ \t]*\n(?P<body>(?:.*\n)*?)\+\+\+[ \t]*(?:\n|\Z)")
_MAX_LENGTH = 100_000
_FIRST_LINE = 2  # of the body in its file
_STRUCTURE = tuple("[{|>&!")  # a value that begins like this is no plain text
_MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The front matter of a Markdown text, and what follows it.

    Attributes:
        values: its mapping, with dates as ISO 8601 strings; empty if there is none.
        text: the text without the front matter.
        unread: front matter that could not be read, as it is written; it begins on the second line.
        notes: what was wrong with it and how it was read, one sentence each.
    """

    values: dict[str, Any]
    text: str
    unread: str = ""
    notes: tuple[str, ...] = ()


class _InvalidError(ValueError):
    """A mapping cannot be read, for a reason that begins on a line of it, from 1; 0 if it is not known."""

    def __init__(self, fault: str, line: int = 0) -> None:
        super().__init__(fault)
        self.fault, self.line = fault, line


@dataclass(slots=True)
class _Values:
    """The values that were read, and the notes on them."""

    values: Mapping[Any, Any]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Format:
    """A format of front matter: what it looks like, and how it is read."""

    name: str
    block: re.Pattern[str]
    entry: re.Pattern[str]  # a line with a key and its value
    load: Callable[[str], _Values | None]  # None for what is no mapping


def split_front_matter(text: str) -> FrontMatter:
    """Split the front matter from a Markdown text.

    What stands between two lines of `---` is front matter if it follows the first at once and is a YAML mapping, as in
    Jekyll, Hugo and pandoc, or empty; everything else is a thematic break and text.

    Args:
        text: the text, with "\\n" at the end of each line.

    Example:
        >>> split_front_matter("---\\ndate: 2026-03-01\\n---\\n# Prices\\n")
        FrontMatter(values={'date': '2026-03-01'}, text='# Prices\\n', unread='', notes=())
        >>> split_front_matter("---\\n\\nDrain the boiler.\\n\\n---\\n").values
        {}
        >>> split_front_matter("---\\ntitle: Backup: the notes\\n---\\n").values
        {'title': 'Backup: the notes'}
    """
    for kind in _FORMATS:
        match = kind.block.match(text, 0, _MAX_LENGTH)
        if match is None:
            continue
        body, rest = match["body"], text[match.end() :]
        if not body.strip():
            return FrontMatter({}, text if body else rest)
        if body.startswith("\n") and kind.name == "YAML":
            return FrontMatter({}, text)
        return _read(body, rest, kind) or FrontMatter({}, text)
    return FrontMatter({}, text)


def _read(body: str, rest: str, kind: _Format) -> FrontMatter | None:
    """Read front matter as a whole, else entry by entry; None for what is none."""
    try:
        found = kind.load(body)
    except _InvalidError as error:
        if not any(kind.entry.match(line) for line in body.split("\n")):
            return None
        where = f" (line {error.line + _FIRST_LINE - 1})" if error.line else ""
        problem = f"Its front matter {error.fault}{where}"
        found = _lenient(body, kind, problem)
        if found is None:
            return FrontMatter({}, rest, body, (f"{problem}; it is read as text.",))
    if found is None:
        return None
    plain = {str(key): _plain(value) for key, value in found.values.items()}
    values = {key: value for key, value in plain.items() if value is not None}
    return FrontMatter(values, rest, notes=tuple(found.notes))


def _lenient(body: str, kind: _Format, problem: str) -> _Values | None:
    """Read a mapping entry by entry, and a value of one line that cannot be read as plain text; None if that fails."""
    entries = list(_entries(body, kind.entry))
    found = _Values({})
    as_text = []
    for entry in entries:
        try:
            one = kind.load(entry)
        except _InvalidError:
            one = None
        match = kind.entry.match(entry)
        if one is None:
            if match is None or "\n" in entry.strip("\n") or (match["value"] or "").startswith(_STRUCTURE):
                return None
            one = _Values({match["key"]: _unquoted(match["value"] or "")})
            as_text.append(match["key"])
        found = _Values({**found.values, **one.values}, found.notes + one.notes)
    if as_text:
        found.notes.insert(0, f"{problem}; read as plain text: {', '.join(as_text)[:_MAX_SHOWN]}.")
    return found if as_text else None


def _entries(body: str, entry: re.Pattern[str]) -> Iterator[str]:
    """Yield the entries at the top of a mapping, each with the lines that continue it."""
    lines: list[str] = []
    for line in body.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        if lines and (entry.match(line) or line.startswith("[")):
            yield "\n".join(lines) + "\n"
            lines = []
        lines.append(line)
    yield "\n".join(lines) + "\n"


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


def _load_yaml(body: str) -> _Values | None:
    yaml: Any = require("yaml", "rag", "Reading front matter")
    found = _Values({})

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """The safe loader, which keeps a value as text if it looks like a date or a number and is none."""

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep=deep)
            except yaml.YAMLError:
                raise
            except (ValueError, OverflowError):
                shown = str(node.value)[:_MAX_SHOWN]
                kind = "date" if node.tag.endswith(":timestamp") else "number"
                found.notes.append(f"{shown!r} in its front matter is no possible {kind} and is kept as text.")
                return node.value

    try:
        for event in yaml.parse(body, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # aliases of aliases grow without limit
                raise _InvalidError("has aliases, which are not followed", event.start_mark.line + 1)
        values = yaml.load(body, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line, body.rstrip().count("\n")) + 1 if mark is not None else 0  # the end is after the last
        raise _InvalidError(f"is not valid YAML: {error.problem or error.context}", line) from error
    except yaml.reader.ReaderError as error:
        line = body.count("\n", 0, error.position) + 1
        raise _InvalidError("is not valid YAML: it contains a control character", line) from error
    except RecursionError as error:
        raise _InvalidError("is nested too deeply") from error
    if not isinstance(values, Mapping):
        return None
    found.values = values
    return found


def _load_toml(body: str) -> _Values | None:
    try:
        return _Values(tomllib.loads(body))
    except tomllib.TOMLDecodeError as error:
        fault, _, place = str(error).partition(" (at line ")
        line = place.split(",")[0]
        fault = f"is not valid TOML: {fault[:1].lower()}{fault[1:]}"
        raise _InvalidError(fault, int(line) if line.isdecimal() else body.count("\n")) from error
    except RecursionError as error:
        raise _InvalidError("is nested too deeply") from error


_KEY = r"(?P<key>[^\W\d][\w.-]*)[ \t]*"
_YAML_ENTRY = re.compile(_KEY + r":(?:[ \t]+(?P<value>.*?)[ \t]*$|$)", re.MULTILINE)
_TOML_ENTRY = re.compile(_KEY + r"=[ \t]*(?P<value>.*?)[ \t]*$", re.MULTILINE)
_FORMATS = (_Format("YAML", _YAML, _YAML_ENTRY, _load_yaml), _Format("TOML", _TOML, _TOML_ENTRY, _load_toml))


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
