"""Connections to the database: SQLite or PostgreSQL, opened by URL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError

from rerankd._common.optional import require
from rerankd._common.paths import make_private
from rerankd.database.errors import translate_errors
from rerankd.database.migrate import migrate
from rerankd.database.tables import metadata
from rerankd.errors import InvalidRequestError

BUSY_SECONDS = 10
STALL_SECONDS = 30
BATCH_SIZE = 500
T = TypeVar("T")


class Database:
    """The database of traces, feedback and experiments; its tables are created or migrated when it is opened.

    Args:
        url: `sqlite:///folder/file` or `postgresql://user:password@host/database`.

    Raises:
        InvalidRequestError: the URL is not valid, or a later version of rerankd made the tables.
        MissingDependencyError: PostgreSQL without the extra `postgres`.
        UnavailableError: the database cannot be reached or written.

    Example:
        >>> import tempfile
        >>> database = Database(f"sqlite:///{tempfile.mkdtemp()}/traces.sqlite")
        >>> database.is_sqlite
        True
        >>> database.close()
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        with translate_errors():
            migrate(self.engine)

    @property
    def is_sqlite(self) -> bool:
        """True for a SQLite file, False for PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    def size(self) -> int:
        """Return the bytes that the tables take; free pages of a SQLite file do not count."""
        with self.connect() as connection:
            if self.is_sqlite:
                pages, free, page = (
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("page_count", "freelist_count", "page_size")
                )
                return int((pages - free) * page)
            total = "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(CAST(:names AS text[])) AS name"
            names = {"names": [table.name for table in metadata.sorted_tables]}
            return int(connection.execute(text(total), names).scalar_one() or 0)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection that reads one consistent state.

        Yields:
            The connection.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        with translate_errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction that may write; it commits at the end of the block and rolls back if the block raises.

        Yields:
            The connection of the transaction.

        Raises:
            SQLAlchemyError: the database's own errors; see `rerankd.database.errors.translate_errors`.
        """
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection


def batched(items: Sequence[T], size: int = BATCH_SIZE) -> Iterator[Sequence[T]]:
    """Divide items into batches, since a statement holds a limited number of parameters.

    Example:
        >>> [len(batch) for batch in batched(range(5), 2)]
        [2, 2, 1]
    """
    return (items[start : start + size] for start in range(0, len(items), size))


def open_engine(url: str) -> Engine:
    """Return an engine for a database URL; it connects at first use.

    Args:
        url: `sqlite:///folder/file` or `postgresql://user:password@host/database`.

    Raises:
        InvalidRequestError: the URL is not valid, or names another kind of database.
        MissingDependencyError: PostgreSQL without the extra `postgres`.
    """
    try:
        address = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
    except (ArgumentError, ValueError) as error:
        raise InvalidRequestError(
            "traces_url is not a database URL.",
            hint="Write sqlite:////folder/file or postgresql://user@host/database.",
        ) from error
    if address.get_backend_name() == "sqlite" and address.database:
        return _sqlite_engine(url, Path(address.database))
    if address.drivername != "postgresql+psycopg":
        raise InvalidRequestError(
            "traces_url must name a SQLite or PostgreSQL database.",
            hint="Write sqlite:////folder/file or postgresql://user@host/database.",
        )
    require("psycopg", "postgres", "Keeping traces in PostgreSQL")
    timeouts = f"-c statement_timeout={STALL_SECONDS}s -c idle_in_transaction_session_timeout={STALL_SECONDS}s"
    defaults: dict[str, Any] = {"connect_timeout": 5, "tcp_user_timeout": STALL_SECONDS * 1000, "options": timeouts}
    connect_args = {name: value for name, value in defaults.items() if name not in address.query}
    return create_engine(address, hide_parameters=True, pool_pre_ping=True, connect_args=connect_args)


def _sqlite_engine(url: str, path: Path) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "do_connect")
    def _make_file(*_: object) -> None:
        make_private(path)  # it will hold users' texts

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver would leave some statements outside of transactions
        # FULL: one fsync per commit, so that a power failure loses no more than a killed process does.
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later could fail in between; BEGIN IMMEDIATE waits at the start.
        options = connection.get_execution_options()
        if not options.get("bare"):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")

    return engine
