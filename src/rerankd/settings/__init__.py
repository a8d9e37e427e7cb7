"""Settings of the command line and the service."""

from __future__ import annotations

from rerankd.settings.loading import (
    FILE_NAME,
    Settings,
    describe_sources,
    load_settings,
    settings_file,
    unknown_variables,
)
from rerankd.settings.topics import TOPICS

__all__ = ["FILE_NAME", "TOPICS", "Settings", "describe_sources", "load_settings", "settings_file", "unknown_variables"]
