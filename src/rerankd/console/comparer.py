"""The rankings of pasted documents: before and after, of two models, or by the rules in force and by a draft."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd.console.compare_models import ChosenModel, ComparedModels
from rerankd.console.compared import Compared, build_compared, comparison_request, read_draft
from rerankd.console.comparison import Controls, RankedList
from rerankd.console.messages import message
from rerankd.console.rankings import compared_documents, first_stage_list, model_list, request_body
from rerankd.console.visitor import Visitor
from rerankd.pipeline.applied_rules import AppliedRules, apply_rules
from rerankd.pipeline.scores import ModelScores
from rerankd.ranking.order import checked_fusion
from rerankd.server.service import Service
from rerankd.types import Document, RerankRequest


class Comparer:
    """Compares rankings of documents.

    Args:
        service: the instance.
        models: models to rank with.
    """

    def __init__(self, service: Service, models: ComparedModels) -> None:
        self._service, self._models = service, models

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
        model = await self._models.choose(name, visitor)
        request, controls = comparison_request(self._service, query, documents), self._controls
        rules = await self._service.pipeline.apply_rules(request)
        scores = await self._models.score(model, rules.query, request)
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
        request, controls = comparison_request(self._service, query, documents), self._controls
        rules = await self._service.pipeline.apply_rules(request)
        scores = [await self._models.score(model, rules.query, request) for model in models]
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
        model = await self._models.choose(name, visitor)
        request, controls = comparison_request(self._service, query, documents), self._controls
        today = await self._service.pipeline.apply_rules(request)
        scores = await self._models.score(model, today.query, request)
        name = message("compare.rules_today", visitor.language)
        left = _list_of(name, request, scores, today, controls, today.version)
        changed = await apply_rules(drafted, request)
        if changed.query != today.query:
            scores = await self._models.score(model, changed.query, request)
        name = message("compare.rules_draft", visitor.language)
        right = _list_of(name, request, scores, changed, controls, changed.version)
        return await _compared(request, left, right, controls, _served(model), scores.warnings)

    @property
    def _controls(self) -> Controls:
        """Options with which pasted documents are ranked: the service's fusion, no threshold, and no cut."""
        settings = self._service.settings
        return Controls(fusion=checked_fusion(settings.fusion, settings.fusion_weight))


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
    return await build_compared(request.query, documents, left, right, controls, body, warnings)
