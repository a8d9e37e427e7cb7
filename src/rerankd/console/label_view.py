"""Content of the page that labels one ranking: its documents with their labels, from a trace or from a case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rerankd.feedback.case_store import get_case
from rerankd.feedback.cases import BadCase, replace_surrogates
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judgements import judge
from rerankd.feedback.label_store import read_labels
from rerankd.feedback.labelling import case_of, get_trace, own_id, trace_of
from rerankd.feedback.labels import POOL_DEPTH, Label, decided_grades
from rerankd.feedback.store import read_feedback
from rerankd.server.paths import CONSOLE
from rerankd.traces.store import FullTrace, TraceFilter, TraceStore

Kind = Literal["trace", "case"]


@dataclass(frozen=True, slots=True)
class LabelTarget:
    """A ranking to label.

    Attributes:
        kind: `trace` or `case`.
        number: number of the trace or the case.
    """

    kind: Kind
    number: int

    @property
    def address(self) -> str:
        """Address of its page."""
        return f"{CONSOLE}/label/{'case/' if self.kind == 'case' else ''}{self.number}"


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document of a ranking.

    Attributes:
        index: position in the request, from 0.
        id: id that the request gave it.
        text: its text; None if it was erased.
        rank: rank after reranking, from 1.
        rank_before: rank of the first stage, from 1.
        raw_score: logit.
        truncated: True if the model did not read it to the end; None if that is not known.
    """

    index: int
    id: str | None
    text: str | None
    rank: int
    rank_before: int
    raw_score: float | None
    truncated: bool | None = None


@dataclass(frozen=True, slots=True)
class LabelView:
    """A ranking with its labels.

    Attributes:
        target: where it is labelled.
        tenant: its tenant.
        request_id: id of its request, or `labelling.own_id`.
        query: the query; None if it was erased.
        model: name of the model that ranked.
        version: version of that model.
        time: time of the ranking or, without its trace, of the case; seconds since 1970.
        trace: number of its trace; None if it was deleted.
        full: its trace, if that is the target.
        case: its case; None if it is none.
        documents: documents that were shown, by rank.
        labels: the present labels, the oldest first.
        feedback: what users' feedback amounts to, by position: `chosen` or `rejected`.
    """

    target: LabelTarget
    tenant: str
    request_id: str
    query: str | None
    model: str
    version: str
    time: float
    trace: int | None
    full: FullTrace | None
    case: BadCase | None
    documents: tuple[RankedDocument, ...]
    labels: tuple[Label, ...]
    feedback: Mapping[int, str]

    @property
    def coverage(self) -> dict[str, int]:
        """Number of documents among the first ten, and of those with a label."""
        first = {document.index for document in self.documents if document.rank <= POOL_DEPTH}
        return {"labelled": len(first & {label.position for label in self.labels}), "of": len(first)}

    def document(self, document: RankedDocument, labeller: str, *, blind: bool) -> dict[str, Any]:
        """Return a document with its labels.

        Args:
            document: the document.
            labeller: name of the visitor.
            blind: True to hide what others gave until the visitor has given a grade, so that it does not sway them.
        """
        grades = {label.labeller: label.grade for label in self.labels if label.position == document.index}
        own = grades.pop(labeller, None) if labeller else None
        hides = blind and own is None and bool(grades)
        return {
            "index": document.index,
            "id": document.id,
            "text": document.text,
            "rank": document.rank,
            "rank_before": document.rank_before,
            "raw_score": document.raw_score,
            "truncated": document.truncated,
            "feedback": self.feedback.get(document.index),
            "grade": own,
            "others": [] if hides else [{"labeller": name, "grade": grade} for name, grade in grades.items()],
            "others_hidden": hides,
            "decided": None if hides else decided_grades(self.labels).get(document.index),
        }


def load_view(store: TraceStore, target: LabelTarget, tenant: str | None) -> LabelView:
    """Return a ranking with its labels.

    Args:
        store: store of traces and cases.
        target: the ranking.
        tenant: tenant that it must belong to; None for any.

    Raises:
        NotFoundError: there is no such trace or case, or it is another tenant's.
        UnavailableError: the database cannot be reached.
    """
    if target.kind == "trace":
        return _of_trace(store, target, get_trace(store, target.number, tenant))
    return _of_case(store, target, get_case(store, target.number, tenant))


def _of_trace(store: TraceStore, target: LabelTarget, full: FullTrace) -> LabelView:
    candidates, case = full.candidates, case_of(store, full)
    ids = candidates.ids or (None,) * len(candidates)
    documents = [
        RankedDocument(
            index=index,
            id=ids[index],
            text=replace_surrogates(full.texts[index]),
            rank=int(candidates.ranks[index]),
            rank_before=index + 1,
            raw_score=float(candidates.raw_scores[index]),
            truncated=bool(len(candidates.truncated) and candidates.truncated[index]),
        )
        for index in range(len(candidates))
        if candidates.shown[index]
    ]
    trace = full.trace
    return LabelView(
        target=target,
        tenant=trace.tenant,
        request_id=case.request_id if case else trace.request_id or own_id(trace),
        query=replace_surrogates(full.query),
        model=trace.model,
        version=trace.version,
        time=trace.time,
        trace=trace.id,
        full=full,
        case=case,
        documents=_by_rank(documents),
        labels=_labels(store, case),
        feedback=_feedback(store, trace.tenant, trace.request_id, documents),
    )


def _of_case(store: TraceStore, target: LabelTarget, case: BadCase) -> LabelView:
    trace = trace_of(store, case)
    documents = [
        RankedDocument(each.index, each.id, each.text, each.rank_after, each.rank_before, each.raw_score)
        for each in case.candidates
    ]
    return LabelView(
        target=target,
        tenant=case.tenant,
        request_id=case.request_id,
        query=case.query,
        model=case.model,
        version=case.version,
        time=trace.time if trace else case.time,
        trace=trace.id if trace else None,
        full=None,
        case=case,
        documents=_by_rank(documents),
        labels=_labels(store, case),
        feedback=_feedback(store, case.tenant, case.request_id, documents),
    )


def _by_rank(documents: Iterable[RankedDocument]) -> tuple[RankedDocument, ...]:
    return tuple(sorted(documents, key=lambda document: document.rank))


def _labels(store: TraceStore, case: BadCase | None) -> tuple[Label, ...]:
    return tuple(read_labels(store, [case.id])[case.id]) if case else ()


def _feedback(store: TraceStore, tenant: str, request_id: str, documents: Sequence[RankedDocument]) -> dict[int, str]:
    if not request_id or not documents:
        return {}
    newest_first = read_feedback(store, TraceFilter(tenant=tenant, request_id=request_id))
    events: list[FeedbackEvent] = [each.feedback for each in reversed(newest_first)]
    ids: list[str | None] = [None] * (max(document.index for document in documents) + 1)
    for document in documents:
        ids[document.index] = document.id
    judgements = judge(events, len(ids), ids)
    return dict.fromkeys(judgements.chosen, "chosen") | dict.fromkeys(judgements.rejected, "rejected")
