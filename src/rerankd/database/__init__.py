"""Database of traces, feedback and experiments: tables, connections, migrations, and errors of the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.database.connection import Database, batched, open_engine
    from rerankd.database.errors import translate_errors
    from rerankd.database.tables import metadata

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.database.connection": (
            "Database",
            "batched",
            "open_engine",
        ),
        "rerankd.database.errors": ("translate_errors",),
        "rerankd.database.tables": ("metadata",),
    },
)

__all__ = ["Database", "batched", "metadata", "open_engine", "translate_errors"]
