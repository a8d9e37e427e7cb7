"""HTML pages from Jinja2 templates: one file without scripts, with a policy that forbids every request."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from rerankd._common.files import writable, write_atomic
from rerankd._common.optional import require
from rerankd._common.version import __version__
from rerankd.evaluation.bootstrap import Interval
from rerankd.evaluation.report.charts import side, signed
from rerankd.evaluation.report.diagrams import rank_changes
from rerankd.evaluation.report.markup import Markup, printable

# Nothing may be loaded from anywhere, nothing may run; only the page's own styles apply.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
TEMPLATES = Path(__file__).with_name("templates")
TEXT_LENGTH = 260


def render_page(template: str, title: str, **context: object) -> str:
    """Render a template of this package as an HTML document.

    Every value is escaped unless it is `Markup`; characters that HTML may not hold are replaced.

    Args:
        template: name of the template's file.
        title: title of the page.
        context: variables of the template.

    Raises:
        MissingDependencyError: the extra `eval` is not installed.
    """
    html: str = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            made=f"rerankd {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            policy=Markup(POLICY),
            styles=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            **context,
        )
    )
    return html


def write_report(path: Path, html: str) -> None:
    """Write a page in one atomic step.

    Raises:
        InvalidRequestError: the path cannot be written.
    """
    with writable(path):
        write_atomic(path, html.encode("utf-8", errors="replace"))


@cache
def _environment() -> Any:
    jinja2 = require("jinja2", "eval", "An HTML report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": _interval,
        "p_value": p_value,
        "rank_changes": rank_changes,
        "shortened": _shortened,
        "side": side,
        "signed": signed,
        "conclusion_class": _conclusion_class,
    }
    return environment


def _finalize(value: object) -> object:
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _interval(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}".replace("-", "−")


def p_value(value: float) -> str:
    """Format a p-value.

    Example:
        >>> p_value(0.0312), p_value(0.00001)
        ('0.0312', '< 0.0001')
    """
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH]}…"


def _conclusion_class(conclusion: str) -> str:
    return conclusion if conclusion in ("better", "worse") else ""
