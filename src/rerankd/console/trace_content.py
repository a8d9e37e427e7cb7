"""Content of the pages of traces: rows of the list, and all facts of one trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any
from urllib.parse import quote

from rerankd.console.comparison import Judged
from rerankd.feedback.case_store import case_numbers
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judgements import judge
from rerankd.feedback.store import count_feedback, feedback_on
from rerankd.server.paths import CONSOLE
from rerankd.traces.export import exported_candidates
from rerankd.traces.store import FullTrace, TraceStore
from rerankd.traces.trace import Trace

MAX_QUERY = 300  # characters of a query in the list
MAX_DOCUMENTS = 200  # of one trace, by rank
MAX_TEXT = 2000  # characters of a document
STEPS = ("tokenization", "queue", "inference")
FACTS = tuple(field.name for field in fields(Trace) if field.name not in ("query", "parameters"))
"""Fields of a trace but for the numbers of its texts, which mean nothing outside of the database."""


def listed_traces(store: TraceStore, traces: Sequence[Trace], replay: str | None, models: Sequence[str]) -> list[Any]:
    """Return traces as rows of the list.

    Args:
        store: store of the traces.
        traces: traces of a page.
        replay: model to replay with; None for another one than has ranked, if there is one.
        models: names of the models that can score, the default first.
    """
    queries, feedback, cases = store.read_queries(traces), count_feedback(store, traces), case_numbers(store, traces)
    rows = []
    for trace in traces:
        text, case = queries.get(trace.query), cases.get(trace.id)
        rows.append(
            _facts(trace)
            | {
                "query": None if text is None else clean(text[:MAX_QUERY]),
                "query_is_cut": text is not None and len(text) > MAX_QUERY,
                "feedback": feedback.get(trace.id, 0),
                "case": None if case is None else {"id": case[0], "state": case[1]},
                "links": trace_links(trace, replay or other_model(trace, models)),
            }
        )
    return rows


def trace_details(
    store: TraceStore, full: FullTrace, *, only_shown: bool, replay: str | None, models: Sequence[str]
) -> dict[str, Any]:
    """Return all facts of a trace.

    Args:
        store: store of the trace.
        full: the trace with its texts.
        only_shown: True to leave out documents that rules hid, for those from whom they were hidden.
        replay: model to replay with; None for another one than has ranked, if there is one.
        models: names of the models that can score, the default first.
    """
    trace, case = full.trace, case_numbers(store, [full.trace]).get(full.trace.id)
    documents = sorted(exported_candidates(full, only_shown=only_shown), key=lambda row: row["rank_after"])
    events = feedback_on(store, trace)
    ids, marks = _ids(full), judged_documents(full, events)
    ranks = {row["index"]: row["rank_after"] for row in documents}
    return {
        "trace": _facts(trace) | {"documents": len(documents)},
        "query": None if full.query is None else clean(full.query),
        "parameters": full.parameters,
        "steps": _steps(trace),
        "documents": [_document(row) | {"feedback": marks[row["index"]]} for row in documents[:MAX_DOCUMENTS]],
        "documents_left": max(0, len(documents) - MAX_DOCUMENTS),
        "feedback": [asdict(event) | {"rank": ranks.get(_index(event, ids))} for event in events],
        "case": None if case is None else {"id": case[0], "state": case[1]},
        "models": list(models),
        "replay": replay or other_model(trace, models),
        "links": trace_links(trace, replay or other_model(trace, models)),
    }


def judged_documents(full: FullTrace, events: Sequence[FeedbackEvent]) -> list[Judged | None]:
    """Return what users' feedback says of each document of a trace, in the order of the request; None for nothing."""
    ids = _ids(full)
    judged = judge(events, len(ids), ids)
    marks: dict[int, Judged] = dict.fromkeys(judged.rejected, "rejected")
    marks |= dict.fromkeys(judged.chosen, "chosen")
    return [marks.get(position) for position in range(len(ids))]


def other_model(trace: Trace, models: Sequence[str]) -> str:
    """Return the first model that has not ranked a trace; the default if there is no other."""
    return next((name for name in models if name != trace.model), models[0])


def trace_links(trace: Trace, replay: str) -> dict[str, str]:
    """Return the addresses of what can be done with a trace."""
    compare = f"{CONSOLE}/compare?trace={trace.id}"
    return {
        "trace": f"{CONSOLE}/traces/{trace.id}",
        "compare": compare,
        "replay": f"{compare}&model={quote(replay, safe='')}",
        "label": f"{CONSOLE}/label/{trace.id}",
        "export": f"{CONSOLE}/traces/export?id={trace.id}",
    }


def clean(text: str) -> str:
    """Return a text that JSON can hold: lone surrogates are replaced.

    Example:
        >>> clean("a\\ud800")
        'a?'
    """
    return text.encode("utf-8", "replace").decode()


def _ids(full: FullTrace) -> Sequence[str | None]:
    return full.candidates.ids or (None,) * len(full.candidates)


def _index(event: FeedbackEvent, ids: Sequence[str | None]) -> int | None:
    """Return the position of the document that an event is on; None for the whole ranking, or an unknown document."""
    if event.index is not None or event.document_id is None:
        return event.index
    return ids.index(event.document_id) if event.document_id in ids else None


def _facts(trace: Trace) -> dict[str, Any]:
    return {name: getattr(trace, name) for name in FACTS}


def _steps(trace: Trace) -> list[dict[str, Any]]:
    """Return the milliseconds of each step and its share of the whole; what is left is `other`."""
    values = {step: getattr(trace, f"{step}_ms") for step in STEPS}
    values["other"] = max(0.0, trace.total_ms - sum(values.values()))
    whole = max(trace.total_ms, sum(values.values())) or 1.0
    return [{"name": name, "ms": value, "share": value / whole} for name, value in values.items()]


def _document(row: dict[str, Any]) -> dict[str, Any]:
    text: str | None = row["text"]
    return row | {
        "text": None if text is None else clean(text[:MAX_TEXT]),
        "text_is_cut": text is not None and len(text) > MAX_TEXT,
        "move": row["rank_before"] - row["rank_after"],
    }
