"""The page around a report: one file, no script, and a policy that forbids every request."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rerankd._common.version import __version__
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.report.markup import Markup, element, joined

# Nothing may be loaded from anywhere, nothing may run; only the page's own styles apply.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLES = Path(__file__).with_name("report.css")


def page(title: str, *parts: str) -> str:
    """A whole HTML document."""
    made = f"rerankd {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    head = joined(
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", title),
        element("style", Markup(STYLES.read_text(encoding="utf-8"))),
    )
    body = element("body", element("h1", title), element("p", made), *parts)
    return f'<!doctype html>\n<html lang="en">{element("head", head)}{body}</html>\n'


def figure(caption: str, drawn: str, remark: str = "") -> Markup:
    """A chart with its caption."""
    small = [element("small", remark)] if remark else []
    return element("figure", element("figcaption", caption, *small), drawn)


def write_report(path: Path, text: str) -> None:
    """Write it.

    Raises:
        InvalidRequestError: the path cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written ({error.strerror}).", hint="Check the folder.") from error
