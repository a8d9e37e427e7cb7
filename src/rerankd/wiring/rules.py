"""The watcher of the rule file, built from settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rerankd.rules.watcher import RulesWatcher
from rerankd.settings import Settings


def open_rules(settings: Settings, on_reload: Callable[[bool], None] = lambda success: None) -> RulesWatcher | None:
    """Return a watcher of the rule file that the settings name, not started yet; None if they name none.

    Args:
        settings: settings of the program.
        on_reload: called after each attempt to load a changed file, with True if it succeeded.

    Raises:
        InvalidInputFileError: the file cannot be used.
        MissingDependencyError: the extra `rules` is not installed.
    """
    return RulesWatcher(Path(settings.rules), on_reload=on_reload) if settings.rules else None
