"""The language of a page: what the visitor chose, or else what the browser prefers."""

from __future__ import annotations

from typing import Literal, get_args

from starlette.requests import Request

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
COOKIE = "rerankd_language"


def language_of(request: Request) -> Language:
    """Return the language of the pages for a request."""
    chosen = request.cookies.get(COOKIE, "")
    for language in LANGUAGES:
        if chosen == language:
            return language
    return preferred_language(request.headers.get("accept-language", ""))


def preferred_language(header: str) -> Language:
    """Return the first language of an `Accept-Language` header that the console has; English if there is none.

    Example:
        >>> preferred_language("zh-TW,zh;q=0.9,en;q=0.8"), preferred_language("fr, en;q=0.2, zh;q=0.5")
        ('zh', 'zh')
        >>> preferred_language("")
        'en'
    """
    offers: list[tuple[float, Language]] = []
    for part in header.split(","):
        name, *parameters = part.strip().lower().split(";")
        for language in LANGUAGES:
            if name.split("-")[0] == language:
                offers.append((_quality(parameters), language))
    best = max(offers, key=lambda offer: offer[0], default=(0.0, "en"))
    return best[1] if best[0] > 0 else "en"


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
