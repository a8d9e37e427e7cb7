"""One table of the console's messages in English and Chinese, kept in `*.toml` beside this module, a file per page.

A message is a table `[page.name]` with `en` and `zh`, and `one` where English has another form for one thing. Values in
braces are filled in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from rerankd.console.language import Language

__all__ = ["message", "messages"]

Message = Mapping[str, str]


@cache
def messages() -> dict[str, Message]:
    """Return all messages by name, such as `traces.title`.

    Raises:
        ValueError: two files have a message of the same name.
    """
    table: dict[str, Message] = {}
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for page, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
            for name, message in entries.items():
                if f"{page}.{name}" in table:
                    raise ValueError(f"{path.name}: {page}.{name} is defined twice.")
                table[f"{page}.{name}"] = message
    return table


def message(name: str, /, language: Language, **values: object) -> str:
    """Return a message in a language.

    Args:
        name: name of the message.
        language: language of the page.
        **values: values for the braces; `count` chooses the form for one thing in English.

    Raises:
        KeyError: there is no such message, or a value is missing.

    Example:
        >>> message("common.documents", "en", count=1), message("common.documents", "zh", count=1)
        ('1 document', '1 篇文档')
    """
    entry = messages()[name]
    form = "one" if language == "en" and values.get("count") == 1 and "one" in entry else language
    return entry[form].format(**values)
