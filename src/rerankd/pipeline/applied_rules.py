"""The rules in force, applied to a request; long texts are read in a thread, so that other requests go on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.rules.rule_set import RuleSet
from rerankd.types import Adjustment, RerankRequest

INLINE_CHARACTERS = 50_000  # a few milliseconds


@dataclass(frozen=True, slots=True)
class AppliedRules:
    """Effect of the rules on a request, which keeps the rules that it began with.

    Attributes:
        version: version of the rules.
        query: the query with synonyms.
        adjustments: effect on each document; empty without rules.
    """

    version: str
    query: str
    adjustments: Sequence[Adjustment]


async def apply_rules(rules: RuleSet, request: RerankRequest) -> AppliedRules:
    """Apply rules to a request.

    Args:
        rules: the rules in force.
        request: the request.

    Raises:
        InvalidRequestError: normalisation makes the texts of the request much longer.

    Example:
        >>> asyncio.run(apply_rules(RuleSet(()), RerankRequest("q", []))).query
        'q'
    """
    if not rules.rules:
        return AppliedRules(rules.version, request.query, ())
    length = len(request.query) + sum(len(document.text) for document in request.documents)
    return _apply(rules, request) if length <= INLINE_CHARACTERS else await asyncio.to_thread(_apply, rules, request)


def _apply(rules: RuleSet, request: RerankRequest) -> AppliedRules:
    adjustments = rules.adjustments(request.query, request.documents, request.tenant)
    return AppliedRules(rules.version, rules.expand_query(request.query, request.tenant), adjustments)
