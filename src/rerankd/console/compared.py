"""A finished comparison, and what comparisons of pasted documents and of traces share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rerankd.console.compare_form import DRAFT, MAX_DOCUMENTS
from rerankd.console.comparison import ComparedDocument, Controls, RankedList, compare_lists
from rerankd.console.rankings import foremost
from rerankd.errors import InvalidRequestError
from rerankd.ranking.requests import build_request
from rerankd.rules.rule_file import parse_rules
from rerankd.rules.rule_set import RuleSet
from rerankd.server.context import current_request
from rerankd.server.service import Service
from rerankd.types import Document, RerankRequest, TruncationOverrides


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


async def build_compared(
    query: str,
    documents: Sequence[ComparedDocument],
    left: RankedList,
    right: RankedList,
    controls: Controls,
    body: Mapping[str, Any] | None,
    warnings: Sequence[str],
) -> Compared:
    """Compare two lists of documents, in a thread: long texts take a while.

    Args:
        query: the query.
        documents: the documents, in the order of the request.
        left: the list on the left.
        right: the list on the right.
        controls: options that both lists were ranked with.
        body: body of a request that gives one of them; None for none.
        warnings: what was asked for and not done.
    """
    shown: Controls | None = controls
    count = len(documents)
    if count > MAX_DOCUMENTS:
        documents, left, right = foremost(documents, left, right, MAX_DOCUMENTS)
        shown = None
    comparison = await asyncio.to_thread(partial(compare_lists, query, documents, left, right, shown))
    return Compared(comparison, body, count, warnings)


def comparison_request(
    service: Service, query: str, documents: Sequence[Document], truncation: TruncationOverrides | None = None
) -> RerankRequest:
    """Return the request of the visitor that ranks documents.

    Args:
        service: the instance.
        query: the query.
        documents: the documents.
        truncation: overrides of the model's truncation; None for none.
    """
    context = current_request.get()
    return build_request(
        query,
        documents,
        truncation=truncation or TruncationOverrides(),
        timeout=service.settings.request_timeout or None,
        fairness_key=context.tenant or "console",
        request_id=context.request_id,
        tenant=context.tenant,
        source="http",
        best_priority=context.best_priority,
    )


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
