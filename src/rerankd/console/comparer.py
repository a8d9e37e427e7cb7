"""The two rankings of a comparison: scored on the models, by the rules, or read from a trace."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rerankd.console.compare_form import DRAFT, MAX_DOCUMENTS
from rerankd.console.compare_models import ChosenModel, ComparedModels
from rerankd.console.comparison import ComparedDocument, Controls, RankedList, compare_lists
from rerankd.console.messages import message
from rerankd.console.rankings import (
    compared_documents,
    first_stage_list,
    foremost,
    model_list,
    request_body,
    trace_controls,
    trace_list,
)
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError
from rerankd.pipeline.applied_rules import AppliedRules, apply_rules
from rerankd.pipeline.scores import ModelScores
from rerankd.ranking.order import checked_fusion
from rerankd.ranking.requests import build_request
from rerankd.rules.rule_file import parse_rules
from rerankd.rules.rule_set import RuleSet
from rerankd.server.context import current_request
from rerankd.server.service import Service
from rerankd.traces.replay import ERASED, trace_adjustments, trace_documents, trace_instruction
from rerankd.traces.store import FullTrace
from rerankd.types import Document, PairScore, RerankRequest, TruncationOverrides

_OVERRIDES = {field.name for field in dataclasses.fields(TruncationOverrides)}
_REPEATED = ("instruction", "truncation", "long_documents")


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison.

    Attributes:
        comparison: content for the component.
        request: body of a request that gives the right list, or the left one where no request can; None for neither.
        documents: number of documents, of which the component shows the foremost.
        warnings: what was asked for and not done.
    """

    comparison: Mapping[str, Any]
    request: Mapping[str, Any] | None
    documents: int
    warnings: Sequence[str] = ()


class Comparer:
    """Compares rankings for visitors.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._models = service, ComparedModels(service)

    async def before_after(self, query: str, documents: Sequence[Document], name: str, visitor: Visitor) -> Compared:
        """Compare the order of the documents with the ranking of a model.

        Args:
            query: the query.
            documents: the documents, in the order of the first stage.
            name: name of the model; empty for the default.
            visitor: who asks.

        Raises:
            RerankdError: the documents cannot be ranked, or the visitor may not use the model.
        """
        model, request, controls = (
            await self._models.choose(name, visitor),
            self._request(query, documents),
            self._controls,
        )
        rules = await self._service.pipeline.apply_rules(request)
        scores = await self._score(model, rules.query, request)
        right = _list_of(model.label, request, scores, rules, controls)
        left = first_stage_list(message("compare.before", visitor.language), documents, controls.top_n)
        return await _compared(request, left, right, controls, _served(model), scores.warnings)

    async def models(
        self, query: str, documents: Sequence[Document], names: tuple[str, str], visitor: Visitor
    ) -> Compared:
        """Compare the rankings of two models.

        Args:
            query: the query.
            documents: the documents.
            names: names of the models.
            visitor: who asks.

        Raises:
            RerankdError: as for `before_after`.
        """
        models = [await self._models.choose(name, visitor) for name in names]
        request, controls = self._request(query, documents), self._controls
        rules = await self._service.pipeline.apply_rules(request)
        scores = [await self._score(model, rules.query, request) for model in models]
        left, right = (
            _list_of(model.label, request, each, rules, controls) for model, each in zip(models, scores, strict=True)
        )
        return await _compared(request, left, right, controls, _served(models[1], models[0]), scores[1].warnings)

    async def rules(
        self, query: str, documents: Sequence[Document], name: str, draft: str, visitor: Visitor
    ) -> Compared:
        """Compare the rules in force with a draft.

        Args:
            query: the query.
            documents: the documents.
            name: name of the model; empty for the default.
            draft: the draft, in YAML.
            visitor: who asks.

        Raises:
            InvalidInputFileError: something in the draft is wrong; the message names the line.
            RerankdError: as for `before_after`.
        """
        drafted = await read_draft(draft)
        model, request, controls = (
            await self._models.choose(name, visitor),
            self._request(query, documents),
            self._controls,
        )
        today = await self._service.pipeline.apply_rules(request)
        scores = await self._score(model, today.query, request)
        left = _list_of(
            message("compare.rules_today", visitor.language), request, scores, today, controls, today.version
        )
        changed = await apply_rules(drafted, request)
        if changed.query != today.query:
            scores = await self._score(model, changed.query, request)
        name = message("compare.rules_draft", visitor.language)
        right = _list_of(name, request, scores, changed, controls, changed.version)
        return await _compared(request, left, right, controls, _served(model), scores.warnings)

    async def recorded(self, full: FullTrace, visitor: Visitor) -> Compared:
        """Compare the order before a trace with its ranking.

        Args:
            full: the trace.
            visitor: who asks.
        """
        documents, controls = trace_documents(full), trace_controls(full)
        left = first_stage_list(message("compare.before", visitor.language), documents, controls.top_n)
        return await self._compared_trace(full, left, trace_list(full.trace.model, full), full.trace.model)

    async def replayed(self, full: FullTrace, name: str, visitor: Visitor) -> Compared:
        """Compare a trace with its replay on another model; rules and fusion act as they did.

        Args:
            full: the trace.
            name: name of the model.
            visitor: who asks.

        Raises:
            InvalidRequestError: one of its texts was erased.
            RerankdError: as for `before_after`.
        """
        model = await self._models.choose(name, visitor)
        request = self._trace_request(full, model.name)
        scores = await self._score(model, request.query, request)
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
        return await self._compared_trace(full, left, right, model.name if model.is_served else None, scores.warnings)

    async def replayed_with_rules(self, full: FullTrace, draft: str, visitor: Visitor) -> Compared:
        """Compare a trace with its ranking by draft rules; the scores are those of the trace.

        A draft that adds synonyms to the query is scored on the model of the trace.

        Args:
            full: the trace.
            draft: the draft, in YAML.
            visitor: who asks.

        Raises:
            InvalidInputFileError: something in the draft is wrong; the message names the line.
            RerankdError: as for `replayed`.
        """
        drafted, trace = await read_draft(draft), full.trace
        request = self._trace_request(full, trace.model)
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
            scores = (await self._score(model, query, request)).result.scores[0]
        adjustments = await asyncio.to_thread(
            drafted.adjustments, request.query, request.documents, trace.tenant, trace.time
        )
        name = message("compare.rules_draft", visitor.language)
        right = model_list(name, request.documents, scores, adjustments, trace_controls(full), note=drafted.version)
        return await self._compared_trace(full, left, right, trace.model)

    @property
    def _controls(self) -> Controls:
        """Options with which pasted documents are ranked: the service's fusion, no threshold, and no cut."""
        settings = self._service.settings
        return Controls(fusion=checked_fusion(settings.fusion, settings.fusion_weight))

    def _request(
        self, query: str, documents: Sequence[Document], truncation: TruncationOverrides | None = None
    ) -> RerankRequest:
        context = current_request.get()
        return build_request(
            query,
            documents,
            truncation=truncation or TruncationOverrides(),
            timeout=self._service.settings.request_timeout or None,
            fairness_key=context.tenant or "console",
            request_id=context.request_id,
            tenant=context.tenant,
            source="http",
        )

    def _trace_request(self, full: FullTrace, model: str) -> RerankRequest:
        """Return a request that repeats a trace; the length that the model read was a choice for that model alone."""
        if full.query is None or None in full.texts:
            raise InvalidRequestError(f"The trace cannot be ranked again: {ERASED}.", hint="Choose another trace.")
        names = _OVERRIDES if model == full.trace.model else _OVERRIDES - {"max_length"}
        overrides = {name: value for name, value in full.parameters.items() if name in names}
        truncation = TruncationOverrides(**overrides | {"instruction": trace_instruction(full)})
        return self._request(full.query, trace_documents(full), truncation)

    async def _score(self, model: ChosenModel, query: str, request: RerankRequest) -> ModelScores:
        return await self._models.score(model, query, [document.text for document in request.documents], request)

    async def _compared_trace(
        self, full: FullTrace, left: RankedList, right: RankedList, model: str | None, warnings: Sequence[str] = ()
    ) -> Compared:
        """Compare two lists of a trace's documents; erased ones have no text, and no request can repeat them."""
        documents, controls = trace_documents(full), trace_controls(full)
        texts = [
            dataclasses.replace(document, text=text)
            for document, text in zip(compared_documents(documents), full.texts, strict=True)
        ]
        body: dict[str, Any] | None = None
        if full.query is not None and None not in full.texts and model in self._service.pool.names:
            body = request_body(full.query, documents, model, controls)
            names = (*_REPEATED, "max_length") if model == full.trace.model else _REPEATED
            body |= {name: full.parameters[name] for name in names if name in full.parameters}
        return await _build(full.query or "", texts, left, right, controls, body, warnings)


async def read_draft(text: str) -> RuleSet:
    """Return the rules of a draft.

    Args:
        text: the draft, in YAML.

    Raises:
        InvalidInputFileError: something is wrong; the message names line and fix.
        InvalidRequestError: it is empty.
    """
    if not text.strip():
        raise InvalidRequestError("The draft rules are empty.", hint="Write them as in a rule file, see docs/rules.md.")
    return await asyncio.to_thread(parse_rules, text.encode("utf-8", "replace"), DRAFT)


def _list_of(
    name: str,
    request: RerankRequest,
    scores: ModelScores,
    rules: AppliedRules,
    controls: Controls,
    note: str | None = None,
) -> RankedList:
    return model_list(
        name,
        request.documents,
        scores.result.scores[0],
        rules.adjustments,
        controls,
        note=scores.version[:8] if note is None else note,
    )


def _served(*models: ChosenModel) -> str | None:
    """Return the name of the first model that a request can name; None if there is none."""
    return next((model.name for model in models if model.is_served), None)


async def _compared(
    request: RerankRequest,
    left: RankedList,
    right: RankedList,
    controls: Controls,
    model: str | None,
    warnings: Sequence[str],
) -> Compared:
    body = request_body(request.query, request.documents, model, controls) if model else None
    documents = compared_documents(request.documents)
    return await _build(request.query, documents, left, right, controls, body, warnings)


async def _build(
    query: str,
    documents: Sequence[ComparedDocument],
    left: RankedList,
    right: RankedList,
    controls: Controls,
    body: Mapping[str, Any] | None,
    warnings: Sequence[str],
) -> Compared:
    """Build the comparison in a thread: long texts take a while."""
    shown: Controls | None = controls
    count = len(documents)
    if count > MAX_DOCUMENTS:
        documents, left, right = foremost(documents, left, right, MAX_DOCUMENTS)
        shown = None
    comparison = await asyncio.to_thread(partial(compare_lists, query, documents, left, right, shown))
    return Compared(comparison, body, count, warnings)
