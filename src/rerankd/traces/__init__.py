"""Traces: every ranking, written in the background and read again.

writer     queue and background thread between requests and the database
sampling   share of the rankings that is traced
redaction  personal data removed before a text is stored
trace      conversion of a ranking into a trace
packing    candidates of a trace as bytes
passages   texts, each stored once;  hashing: the hash under which they are stored
store      traces in the database;  query_text: search in queries;  marks: of traces with feedback and cases
pages      lists of traces, filtered, sorted and paged;  facets: values to filter by;  export: a trace as JSON
replay     rankings repeated with another model or other rules
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.traces.hashing import text_hash
    from rerankd.traces.packing import Candidates
    from rerankd.traces.redaction import build_redactor
    from rerankd.traces.replay import MovedDocument, Replay, ReplaySummary, replay_traces, replay_with_rules, summarize
    from rerankd.traces.store import FullTrace, TraceFilter, TraceStore
    from rerankd.traces.trace import PendingTrace, Trace, build_trace
    from rerankd.traces.writer import TraceWriter, WriterCounts, WriterOptions

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.traces.hashing": ("text_hash",),
        "rerankd.traces.packing": ("Candidates",),
        "rerankd.traces.redaction": ("build_redactor",),
        "rerankd.traces.replay": (
            "MovedDocument",
            "Replay",
            "ReplaySummary",
            "replay_traces",
            "replay_with_rules",
            "summarize",
        ),
        "rerankd.traces.store": (
            "FullTrace",
            "TraceFilter",
            "TraceStore",
        ),
        "rerankd.traces.trace": (
            "PendingTrace",
            "Trace",
            "build_trace",
        ),
        "rerankd.traces.writer": (
            "TraceWriter",
            "WriterCounts",
            "WriterOptions",
        ),
    },
)

__all__ = [
    "Candidates",
    "FullTrace",
    "MovedDocument",
    "PendingTrace",
    "Replay",
    "ReplaySummary",
    "Trace",
    "TraceFilter",
    "TraceStore",
    "TraceWriter",
    "WriterCounts",
    "WriterOptions",
    "build_redactor",
    "build_trace",
    "replay_traces",
    "replay_with_rules",
    "summarize",
    "text_hash",
]
