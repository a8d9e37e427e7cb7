"""The tables, and opening a database that has them.

`candidates` stands apart from `trace`, so that counting over an hour reads no candidates. Texts (`passage`: documents,
queries and parameters alike) are kept once, under their SHA-256; traces name them by number. The one row of
`trace_store` gives out numbers, and whoever changes it keeps other writers and erasers waiting until the commit.
Experiments stand here too, since all instances share this database, and traces and feedback say how they go.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError

from rerankd._common.optional import require
from rerankd._common.paths import make_private
from rerankd.errors import InvalidRequestError

HEAD = "0004"
VERSION_TABLE = "trace_version"
LOCK = 72_657_261  # of this program among a database's advisory locks
BUSY_SECONDS = 10
STALL_SECONDS = 30

# SQLite counts rows in INTEGER keys only.
_Id = BigInteger().with_variant(Integer, "sqlite")
_PART = text("experiment <> ''")
metadata = MetaData()

store = Table(
    "trace_store",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("next_trace", BigInteger, nullable=False),
    Column("next_passage", BigInteger, nullable=False),
    Column("erased", BigInteger, nullable=False),
)
passage = Table(
    "passage",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("size", Integer, nullable=False),
    Column("deflated", Boolean, nullable=False),
    Column("seen", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("passage_seen", "seen"),
)
trace = Table(
    "trace",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("tenant", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("source", String, nullable=False),
    Column("model", String, nullable=False),
    Column("version", String, nullable=False),
    Column("query", BigInteger, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("documents", Integer, nullable=False),
    Column("kept", Integer, nullable=False),
    Column("top_before", Integer, nullable=False),
    Column("top_score", Double, nullable=False),
    Column("margin", Double),
    Column("tau", Double),
    Column("rbo", Double),
    Column("promotion", Double),
    Column("truncated", Integer, nullable=False),
    Column("cached", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("tokenization_ms", Double, nullable=False),
    Column("queue_ms", Double, nullable=False),
    Column("inference_ms", Double, nullable=False),
    Column("total_ms", Double, nullable=False),
    # Defaults of the database, since an instance of the version before may go on writing.
    Column("experiment", String, nullable=False, server_default=""),
    Column("arm", String, nullable=False, server_default=""),
    Column("teams", String),
    # The margin stands in the index, so that the worst of an hour are found without a look at the rows.
    Index("trace_time", "time", "margin", "id"),
    Index("trace_tenant_time", "tenant", "time", "margin", "id"),
    Index("trace_margin", "margin", "id"),
    Index("trace_tenant_margin", "tenant", "margin", "id"),
    Index("trace_request", "request_id", "tenant"),
    Index("trace_experiment", "experiment", "time", sqlite_where=_PART, postgresql_where=_PART),
)
candidates = Table(
    "candidates",
    metadata,
    Column("trace", _Id, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
feedback = Table(
    "feedback",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("time", Double, nullable=False),
    Column("tenant", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("position", Integer),
    Column("document", String),
    Column("value", Double, nullable=False),
    Column("source", SmallInteger, nullable=False),
    Index("feedback_time", "time"),
    Index("feedback_request", "request_id", "tenant"),
)
# A copy of what was ranked: a case outlives the trace that it was found in.
bad_case = Table(
    "bad_case",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("time", Double, nullable=False),
    Column("changed", Double, nullable=False),
    Column("tenant", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("detector", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("model", String, nullable=False),
    Column("version", String, nullable=False),
    Column("note", String, nullable=False),
    Column("severity", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("tenant", "request_id", "detector", "position", name="bad_case_once"),
    Index("bad_case_state", "state", "severity"),
)
# What is running or promoted has its name and its model in the two columns that are unique, and others have NULL there.
experiment = Table(
    "experiment",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    *(Column(name, String, nullable=False) for name in ("name", "kind", "model", "challenger", "unit", "seed")),
    Column("coverage", Double, nullable=False),
    Column("step", Integer, nullable=False),
    *(Column(name, String, nullable=False) for name in ("plan", "state")),
    *(Column(name, Double, nullable=False) for name in ("created", "changed", "stepped")),
    Column("revision", Integer, nullable=False),
    Column("told", Boolean, nullable=False),
    Column("active_name", String, unique=True),
    Column("active_model", String, unique=True),
    Index("experiment_name", "name"),
)
experiment_event = Table(
    "experiment_event",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("experiment", BigInteger, nullable=False),
    Column("time", Double, nullable=False),
    *(Column(name, String, nullable=False) for name in ("action", "reason", "who")),
    Column("coverage", Double, nullable=False),
    Column("data", String, nullable=False),
    Index("experiment_event_of", "experiment"),
)
experiment_sums = Table(
    "experiment_sums",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("arm", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("total", Double, nullable=False),
    Column("squares", Double, nullable=False),
)
experiment_unit = Table(
    "experiment_unit",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("unit", String, primary_key=True),
    Column("arm", String, nullable=False),
)


def open_engine(url: str) -> Engine:
    """A database by its address; nothing is connected yet.

    Args:
        url: `sqlite:///folder/file` or `postgresql://user:password@host/database`.

    Raises:
        InvalidRequestError: an address that is none.
        MissingDependencyError: PostgreSQL without the extra `postgres`.
    """
    try:
        address = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
    except ArgumentError as error:
        raise InvalidRequestError(
            "traces_url is no address of a database.",
            hint="Write sqlite:////folder/file or postgresql://user@host/database.",
        ) from error
    if address.get_backend_name() == "sqlite" and address.database:
        return _sqlite(url, Path(address.database))
    if address.drivername != "postgresql+psycopg":
        raise InvalidRequestError("Traces are kept in SQLite or PostgreSQL.", hint="Mend traces_url.")
    require("psycopg", "postgres", "Keeping traces in PostgreSQL")
    patience = f"-c statement_timeout={STALL_SECONDS}s -c idle_in_transaction_session_timeout={STALL_SECONDS}s"
    reach: dict[str, Any] = {"connect_timeout": 5, "tcp_user_timeout": STALL_SECONDS * 1000, "options": patience}
    given = {name: value for name, value in reach.items() if name not in address.query}
    return create_engine(address, hide_parameters=True, pool_pre_ping=True, connect_args=given)


def _sqlite(url: str, path: Path) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "do_connect")
    def _make_file(*_: object) -> None:
        make_private(path)  # texts of others

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver's own idea of transactions leaves some statements outside
        # FULL: one wait for the disk a batch, and a loss of power loses no more than a kill.
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later could fail in between; one that writes waits at its start.
        options = connection.get_execution_options()
        if not options.get("bare"):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")

    return engine


def migrate(engine: Engine) -> None:
    """Bring a database's tables up to date; does nothing where they are. Several processes may do it at once.

    Raises:
        InvalidRequestError: the tables are those of a later version of rerankd.
        SQLAlchemyError: the database cannot be reached or written.
    """
    if current_version(engine) == HEAD:
        return
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    script = ScriptDirectory(str(Path(__file__).with_name("migrations")))
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
            "The traces were written by a later version of rerankd.", hint="Use that, or another traces_url."
        ) from error


def current_version(engine: Engine) -> str | None:
    """The version of a database's tables; None where there are none."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        return connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608
