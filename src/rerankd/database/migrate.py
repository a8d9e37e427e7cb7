"""Migrations of the database: tables of earlier versions are brought up to date when the database is opened."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect

from rerankd.errors import InvalidRequestError

HEAD = "0009"
MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "trace_version"
LOCK = 72_657_261  # key of this program's advisory lock in PostgreSQL


def migrate(engine: Engine) -> None:
    """Bring the tables up to date; safe to run in several processes at once.

    Raises:
        InvalidRequestError: a later version of rerankd made the tables.
        SQLAlchemyError: the database cannot be reached or written.
    """
    if current_version(engine) == HEAD:
        return
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    script = ScriptDirectory(str(MIGRATIONS))
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            options = {
                "version_table": VERSION_TABLE,
                "fn": lambda revision, _: script._upgrade_revs("head", revision),
                "transactional_ddl": True,
            }
            context = MigrationContext.configure(connection, opts=options)
            with Operations.context(context):
                context.run_migrations()
    except CommandError as error:
        raise InvalidRequestError(
            "The database was written by a later version of rerankd.",
            hint="Upgrade rerankd, or set traces_url to another database.",
        ) from error


def current_version(engine: Engine) -> str | None:
    """Return the revision of the tables; None for an empty database."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        return connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608
