"""Front matter: the YAML or TOML mapping at the top of a Markdown file."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from rerankd._common.optional import require

_YAML = re.compile(r"---[ \t]*\n(?P<body>(?:(?!---|\.\.\.)\S.*\n)?(?:.*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_TOML = re.compile(r"\+\+\+[ \t]*\n(?P<body>(?:.*\n)*?)\+\+\+[ \t]*(?:\n|\Z)")
_MAX_LENGTH = 100_000


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split the front matter from a Markdown text.

    What stands between two lines of `---` is front matter if it follows the first at once and is a YAML mapping, as in
    Jekyll, Hugo and pandoc, or empty; everything else is a thematic break and text.

    Args:
        text: the text, with "\\n" at the end of each line.

    Returns:
        The mapping, with dates as ISO 8601 strings, and the text without the front matter.

    Example:
        >>> split_front_matter("---\\ndate: 2026-03-01\\n---\\n# Prices\\n")
        ({'date': '2026-03-01'}, '# Prices\\n')
        >>> split_front_matter("---\\n\\nDrain the boiler.\\n\\n---\\n")[0]
        {}
    """
    for pattern, load in ((_YAML, _load_yaml), (_TOML, _load_toml)):
        match = pattern.match(text, 0, _MAX_LENGTH)
        if match is None:
            continue
        body = match["body"]
        if not body.strip():
            return ({}, text[match.end() :]) if body == "" else ({}, text)
        values = None if body.startswith("\n") and load is _load_yaml else load(body)
        if values is not None:
            plain = {str(key): _plain(value) for key, value in values.items()}
            return {key: value for key, value in plain.items() if value is not None}, text[match.end() :]
    return {}, text


def _load_yaml(body: str) -> Mapping[Any, Any] | None:
    yaml: Any = require("yaml", "rag", "Reading front matter")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(body, yaml.SafeLoader)):
            return None  # aliases of aliases grow without limit
        values = yaml.safe_load(body)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return values if isinstance(values, Mapping) else None


def _load_toml(body: str) -> Mapping[Any, Any] | None:
    try:
        return tomllib.loads(body)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
