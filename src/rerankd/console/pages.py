"""Rendering of pages from Jinja2 templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from starlette.requests import Request

from rerankd._common.version import __version__
from rerankd.console import formats
from rerankd.console.language import LANGUAGES
from rerankd.console.messages import message
from rerankd.console.recorded import recorded
from rerankd.console.visitor import Visitor
from rerankd.evaluation.report.charts import side
from rerankd.evaluation.report.page import TEMPLATES as REPORT_TEMPLATES
from rerankd.evaluation.report.page import p_value

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """An entry of the navigation.

    Attributes:
        name: name of its message, after `nav.`.
        path: address of the page.
        admin_only: True if only admin keys may open it.
    """

    name: str
    path: str
    admin_only: bool = False


@cache
def environment() -> Environment:
    """Return the environment of the templates: every value is escaped, and an unknown name is an error."""
    made = Environment(
        loader=ChoiceLoader(
            [FileSystemLoader(TEMPLATES), PrefixLoader({"report": FileSystemLoader(REPORT_TEMPLATES)})]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=formats.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": formats.number,
        "signed": formats.signed,
        "percent": formats.percent,
        "duration": formats.duration,
        "megabytes": formats.megabytes,
        "moment": formats.moment,
        "iso_moment": formats.iso_moment,
        "shortened": formats.shortened,
        "marked": formats.marked,
        "json_block": formats.json_block,
        "p_value": p_value,
        "side": side,
    }
    return made


class PageRenderer:
    """Renders templates with the parts that all pages share.

    Args:
        navigation: entries of the navigation.
    """

    def __init__(self, navigation: Sequence[NavigationItem]) -> None:
        self._navigation = navigation

    def render(
        self, request: Request, visitor: Visitor, template: str, data: Mapping[str, Any], status: int = 200
    ) -> Response:
        """Return a page, or, for a template whose name starts with `_`, a part of one.

        Templates see `data`, `visitor`, `t` (a message in the visitor's language), `recorded` (a stored sentence in
        it), `path` (address of the page) and `json_path` (address of the same content as JSON).
        """
        query = f"?{request.url.query}" if request.url.query else ""
        html = (
            environment()
            .get_template(template)
            .render(
                data=data,
                visitor=visitor,
                language=visitor.language,
                languages=LANGUAGES,
                navigation=[item for item in self._navigation if visitor.is_admin or not item.admin_only],
                path=request.url.path,
                address=request.url.path + query,
                json_path=f"{request.url.path.rstrip('/')}.json{query}",
                version=__version__,
                t=partial(message, language=visitor.language),
                recorded=partial(recorded, language=visitor.language),
            )
        )
        return HTMLResponse(html.encode("utf-8", "replace"), status, headers={"vary": "cookie, accept-language"})
