"""The console of the program: text of documents, models and files never controls the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from rerankd._common.characters import escape_controls
from rerankd._common.fitted_table import fitted


class TerminalConsole(Console):
    r"""A console that shows control characters as escape sequences, and `[bold]` and `:bamboo:` as they are.

    Args:
        stderr: True for standard error.

    Example:
        >>> TerminalConsole().print("\x1b[2J")
        \x1b[2J
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, emoji=False, markup=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects, see rich; tables are fitted to the width."""
        super().print(*(fitted(one, self) if isinstance(one, Table) else one for one in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as styled text, see rich; it would leave some control characters out."""
        return super().render_str(escape_controls(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed, see rich; it passes control characters inside a text on."""
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else escape_controls(segment.text)
            yield segment if shown == segment.text else Segment(shown, segment.style)
