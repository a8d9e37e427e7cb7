"""The rankings of a trace: as it was recorded, replayed on another model, and by draft rules."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

from rerankd.console.compare_models import ComparedModels
from rerankd.console.compared import Compared, build_compared, comparison_request, read_draft
from rerankd.console.comparison import Judged, RankedList
from rerankd.console.messages import message
from rerankd.console.rankings import (
    compared_documents,
    first_stage_list,
    model_list,
    request_body,
    trace_controls,
    trace_list,
)
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError
from rerankd.server.service import Service
from rerankd.traces.replay import ERASED, trace_adjustments, trace_documents, trace_instruction
from rerankd.traces.shown import shown_part
from rerankd.traces.store import FullTrace
from rerankd.types import PairScore, RerankRequest, TruncationOverrides

MAX_REPLAYED = 1_000
_OVERRIDES = {field.name for field in dataclasses.fields(TruncationOverrides)}
_REPEATED = ("instruction", "truncation", "long_documents")


@dataclasses.dataclass(frozen=True, slots=True)
class TraceView:
    """A trace as its visitor may see it.

    Attributes:
        full: the trace.
        feedback: what users said of each document, in the order of the request.
    """

    full: FullTrace
    feedback: Sequence[Judged | None]

    @classmethod
    def of(cls, full: FullTrace, feedback: Sequence[Judged | None], *, only_shown: bool) -> TraceView:
        """Return the view of a trace; `only_shown` leaves out the documents that rules hid."""
        if not only_shown:
            return cls(full, feedback)
        shown = full.candidates.shown.tolist()
        return cls(shown_part(full), [each for each, is_shown in zip(feedback, shown, strict=True) if is_shown])


class TraceComparer:
    """Compares the rankings of traces.

    Args:
        service: the instance.
        models: models to replay on.
    """

    def __init__(self, service: Service, models: ComparedModels) -> None:
        self._service, self._models = service, models

    async def recorded(self, view: TraceView, visitor: Visitor) -> Compared:
        """Compare the order before a trace with its ranking.

        Args:
            view: the trace.
            visitor: who asks.
        """
        full = view.full
        documents, controls = trace_documents(full), trace_controls(full)
        left = first_stage_list(message("compare.before", visitor.language), documents, controls.top_n)
        return await self._compared(view, left, trace_list(full.trace.model, full), full.trace.model)

    async def replayed(self, view: TraceView, name: str, visitor: Visitor) -> Compared:
        """Compare a trace with its replay on another model; rules and fusion act as they did.

        Args:
            view: the trace.
            name: name of the model.
            visitor: who asks.

        Raises:
            InvalidRequestError: one of its texts was erased.
            RerankdError: the trace cannot be scored, or the visitor may not use the model.
        """
        full = view.full
        model = await self._models.choose(name, visitor)
        request = self._request(full, model.name)
        scores = await self._models.score(model, request.query, request)
        right = model_list(
            model.label,
            request.documents,
            scores.result.scores[0],
            trace_adjustments(full),
            trace_controls(full),
            labels=full.candidates.rules,
            note=scores.version[:8],
        )
        left = trace_list(message("compare.recorded", visitor.language, model=full.trace.model), full)
        return await self._compared(view, left, right, model.name if model.is_served else None, scores.warnings)

    async def replayed_with_rules(self, view: TraceView, draft: str, visitor: Visitor) -> Compared:
        """Compare a trace with its ranking by draft rules; the scores are those of the trace.

        A draft that adds synonyms to the query is scored on the model of the trace.

        Args:
            view: the trace.
            draft: the draft, in YAML.
            visitor: who asks.

        Raises:
            InvalidInputFileError: something in the draft is wrong; the message names the line.
            RerankdError: as for `replayed`.
        """
        full = view.full
        drafted, trace = await read_draft(draft), full.trace
        request = self._request(full, trace.model)
        left = trace_list(message("compare.recorded", visitor.language, model=trace.model), full)
        query = drafted.expand_query(request.query, trace.tenant)
        scores: Sequence[PairScore]
        if query == request.query:
            marks = left.marks
            scores = [
                PairScore(raw_score, 0, mark.truncated, mark.chunks)
                for raw_score, mark in zip(full.candidates.raw_scores.tolist(), marks, strict=True)
            ]
        else:
            model = await self._models.choose(trace.model, visitor)
            scores = (await self._models.score(model, query, request)).result.scores[0]
        adjustments = await asyncio.to_thread(
            drafted.adjustments, request.query, request.documents, trace.tenant, trace.time
        )
        name = message("compare.rules_draft", visitor.language)
        right = model_list(name, request.documents, scores, adjustments, trace_controls(full), note=drafted.version)
        return await self._compared(view, left, right, trace.model)

    def _request(self, full: FullTrace, model: str) -> RerankRequest:
        """Return a request that repeats a trace; the length that the model read was a choice for that model alone."""
        if full.query is None or None in full.texts:
            raise InvalidRequestError(f"The trace cannot be ranked again: {ERASED}.", hint="Choose another trace.")
        if len(full.texts) > MAX_REPLAYED:
            raise InvalidRequestError(
                f"The trace has {len(full.texts):,} documents; at most {MAX_REPLAYED:,} are ranked again here.",
                hint="Use rerankd traces replay.",
            )
        names = _OVERRIDES if model == full.trace.model else _OVERRIDES - {"max_length"}
        overrides = {name: value for name, value in full.parameters.items() if name in names}
        truncation = TruncationOverrides(**overrides | {"instruction": trace_instruction(full)})
        return comparison_request(self._service, full.query, trace_documents(full), truncation)

    async def _compared(
        self, view: TraceView, left: RankedList, right: RankedList, model: str | None, warnings: Sequence[str] = ()
    ) -> Compared:
        """Compare two lists of a trace's documents; erased ones have no text, and no request can repeat them."""
        full = view.full
        documents, controls = trace_documents(full), trace_controls(full)
        texts = [
            dataclasses.replace(document, text=text, feedback=judged)
            for document, text, judged in zip(compared_documents(documents), full.texts, view.feedback, strict=True)
        ]
        body: dict[str, Any] | None = None
        if full.query is not None and None not in full.texts and model in self._service.pool.names:
            body = request_body(full.query, documents, model, controls)
            names = (*_REPEATED, "max_length") if model == full.trace.model else _REPEATED
            body |= {name: full.parameters[name] for name in names if name in full.parameters}
        return await build_compared(full.query or "", texts, left, right, controls, body, warnings)
