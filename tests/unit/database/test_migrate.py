from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from rerankd.database.connection import Database
from rerankd.database.migrate import HEAD, MIGRATIONS, VERSION_TABLE
from rerankd.database.tables import metadata


def test_tables_are_what_the_migrations_make(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/traces.sqlite")
    script = ScriptDirectory(str(MIGRATIONS))
    assert script.get_heads() == [HEAD]
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    database.close()
