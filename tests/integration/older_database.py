"""A database as an older version of rerankd made it."""

from __future__ import annotations

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from rerankd.database.migrate import MIGRATIONS, VERSION_TABLE


def make_tables(connection: Connection, revision: str) -> None:
    """Make the tables of a revision in an empty database."""
    script = ScriptDirectory(str(MIGRATIONS))
    options = {
        "version_table": VERSION_TABLE,
        "fn": lambda current, _: script._upgrade_revs(revision, current),
    }
    context = MigrationContext.configure(connection, opts=options)
    with Operations.context(context):
        context.run_migrations()
