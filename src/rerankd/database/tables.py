"""Tables of the database that traces, feedback and experiments share.

`candidates` is apart from `trace`, so that statistics over an hour read no candidates. Texts (`passage`: documents,
queries and parameters alike) are stored once, under their SHA-256, and traces refer to them by number. The single row
of `trace_store` hands out these numbers; a transaction that updates it blocks other writers and erasers until it
commits. All instances of a service share this database, so experiments live here as well.

`activity_summary`, `judged_ranking` and `activity_state` are what monitoring over time reads instead of traces.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
)

# SQLite assigns row numbers to INTEGER keys only.
_Id = BigInteger().with_variant(Integer, "sqlite")
_PART = text("experiment <> ''")
SUMMARY_COUNTS = (
    *("requests", "jobs", "slow", "top_changed", "documents", "truncated", "cached"),
    *("tau_count", "rbo_count", "promotion_count", "margin_count"),
)
SUMMARY_TOTALS = ("tau_total", "rbo_total", "promotion_total", "margin_total")
"""Columns of `activity_summary` that add up."""
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
# Queries as they are searched: a text is read in a fraction of the time that reading, inflating and folding it takes.
query_text = Table(
    "query_text",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("text", String, nullable=False),
)
# What lists of traces are filtered and sorted by, so that an index alone answers and rows need not be read.
_LISTED = (
    *("time", "id", "margin", "promotion", "total_ms", "model", "version", "experiment", "arm", "query"),
    *("has_feedback", "has_case"),
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
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("has_feedback", Boolean, nullable=False, server_default=false()),
    Column("has_case", Boolean, nullable=False, server_default=false()),
    Index("trace_time", *_LISTED),
    Index("trace_tenant_time", "tenant", *_LISTED),
    Index("trace_margin", "margin", "id"),
    Index("trace_tenant_margin", "tenant", "margin", "id"),
    Index("trace_promotion", "promotion", "id"),
    Index("trace_total", "total_ms", "id"),
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
    Index("bad_case_ranking", "tenant", "request_id", unique=True),
)
# What detectors found in the ranking of a case; the case repeats the first of them.
bad_case_reason = Table(
    "bad_case_reason",
    metadata,
    Column("case_id", BigInteger, primary_key=True, autoincrement=False),
    Column("detector", String, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("severity", Double, nullable=False),
    Column("note", String, nullable=False),
)
# Grades that people gave to the documents of a case. Who changes their mind adds a row, so that it can be undone:
# `replaced` marks all but the newest row of a labeller on a document. A grade is NULL where it was taken back.
label = Table(
    "label",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("case_id", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Column("labeller", String, nullable=False),
    Column("grade", Integer),
    Column("time", Double, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("pool", SmallInteger, nullable=False),
    Column("replaced", Boolean, nullable=False),
    Index("label_case", "case_id", "position"),
    Index("label_labeller", "labeller", "case_id", "position"),
)
# Rankings that a labeller does not want to be brought again.
label_skip = Table(
    "label_skip",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("request_id", String, primary_key=True),
    Column("labeller", String, primary_key=True),
    Column("time", Double, nullable=False),
    Column("reason", String, nullable=False),
    Index("label_skip_labeller", "labeller", "time"),
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
# Results hold ids and numbers only: texts are read from the dataset or from the cases, so that erasing them there is
# enough. An evaluation without a tenant is the administrators'.
evaluation = Table(
    "evaluation",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("tenant", String),
    *(Column(name, String, nullable=False) for name in ("author", "plan", "state")),
    *(Column(name, Integer, nullable=False) for name in ("done", "total")),
    *(Column(name, String, nullable=False) for name in ("error", "headline")),
    Column("result", LargeBinary),
    Index("evaluation_tenant", "tenant", "id"),
    sqlite_autoincrement=True,  # an instance may still run one that was deleted: its number must not be given again
)
evaluation_query = Table(
    "evaluation_query",
    metadata,
    Column("evaluation", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
# Sums over the rankings of a time bucket, and sketches of their scores and latencies; tenant `*` has all tenants'. The
# numbers of buckets that are kept are limited, so that this stays small beside the traces.
activity_summary = Table(
    "activity_summary",
    metadata,
    Column("step", Integer, primary_key=True, autoincrement=False),
    *(Column(name, String, primary_key=True) for name in ("tenant", "model")),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("version", String, primary_key=True),
    Column("first", Double, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in SUMMARY_COUNTS),
    *(Column(name, Double, nullable=False) for name in SUMMARY_TOTALS),
    Column("data", LargeBinary, nullable=False),
)
# What feedback says of a ranking: one row for each ranking with feedback, written again when more arrives.
judged_ranking = Table(
    "judged_ranking",
    metadata,
    Column("trace", _Id, primary_key=True, autoincrement=False),
    Column("minute", BigInteger, nullable=False),
    *(Column(name, String, nullable=False) for name in ("tenant", "model")),
    *(Column(name, Integer, nullable=False) for name in ("chosen", "rejected")),
    *(Column(name, Double) for name in ("reciprocal_before", "reciprocal_after")),
    Index("judged_ranking_minute", "minute"),
)
# One row: what of traces and feedback the two tables above hold already.
activity_state = Table(
    "activity_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("traces", "feedback_settled", "feedback_marked", "feedback_seen")
    ),
    Column("feedback_time", Double, nullable=False),
)
