"""The last steps of a request, the same for the library, the service and jobs: from scores to the result. Pure.

scores -> interleaving (where an experiment asks for it) -> rules -> fusion -> order -> threshold and cut -> activation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerankd._common.timing import complete_timings
from rerankd.ranking.blanks import lower_blanks
from rerankd.ranking.interleave import interleave_scores
from rerankd.ranking.order import rank_request, usage_of
from rerankd.ranking.team_draft import seed_of
from rerankd.types import Adjustment, PairScore, RankingRecord, RerankRequest, RerankResult


@dataclass(frozen=True, slots=True)
class RequestScores:
    """Scores of a request's documents, and their origin.

    Attributes:
        scores: one score for each document, in request order.
        model: name of the model that scored.
        version: fingerprint of the model's files and of the backend that computed; empty if nobody needs it.
        max_length: longest pair in tokens.
        timings: milliseconds by step: `tokenization`, `queue`, `inference` and `total`.
        cached: pairs whose score came from the cache.
        computed_tokens: tokens that were computed, those of cached scores left out; None if there is no cache.
        experiment: name of the experiment that the request is part of; empty for none.
        variant: variant of the experiment that answers.
        challenger_scores: the challenger's scores, if one list is to be interleaved from both rankings.
        instruction: instruction that the model read; None for the model's own, or for none.
        warnings: what was asked for and not done.
    """

    scores: Sequence[PairScore]
    model: str
    version: str
    max_length: int
    timings: Mapping[str, float]
    cached: int = 0
    computed_tokens: int | None = None
    experiment: str = ""
    variant: str = ""
    challenger_scores: Sequence[PairScore] | None = None
    instruction: str | None = None
    warnings: tuple[str, ...] = ()


def experiment_label(experiment: str, variant: str) -> str:
    """Return an experiment and its variant as responses name them, `name/variant`; empty for no experiment.

    Example:
        >>> experiment_label("canary-7", "challenger")
        'canary-7/challenger'
    """
    return f"{experiment}/{variant}" if experiment else ""


def finish(
    request: RerankRequest,
    scored: RequestScores,
    adjustments: Sequence[Adjustment] = (),
    *,
    rules: str = "",
    now: float = 0.0,
) -> tuple[RerankResult, RankingRecord]:
    """Turn the scores of a request into its result.

    Args:
        request: the request.
        scored: scores of its documents.
        adjustments: effect of the rules on each document; empty without rules.
        rules: version of the rules; empty without rules.
        now: time of the record, in seconds since 1970.

    Returns:
        The result for the caller, and the record for traces.

    Example:
        >>> from rerankd.types import Document
        >>> request = RerankRequest("q", [Document("a"), Document("b")], top_n=1, request_id="r")
        >>> scores = [PairScore(-1.0, 5, False), PairScore(2.0, 7, False)]
        >>> result, record = finish(request, RequestScores(scores, "mini", "v1", 512, {}))
        >>> result[0].index, result.usage.tokens, result.request_id, len(record.scores)
        (1, 12, 'r', 2)
    """
    timings = complete_timings(scored.timings, missing=0.0)
    scores, teams, ranked = lower_blanks(request.documents, scored.scores), "", request
    if scored.challenger_scores is not None:
        seed = seed_of(scored.experiment, request.request_id)
        challenger_scores = lower_blanks(request.documents, scored.challenger_scores)
        interleaved = interleave_scores(request, scores, challenger_scores, adjustments, seed)
        ranked, scores = interleaved.request, interleaved.scores
        adjustments, teams = interleaved.adjustments, interleaved.teams
    result = RerankResult(
        results=rank_request(ranked, scores, adjustments),
        model=scored.model,
        usage=usage_of(scores),
        timings=timings,
        request_id=request.request_id,
        computed_tokens=scored.computed_tokens,
        rules=rules,
        version=scored.version,
        experiment=experiment_label(scored.experiment, scored.variant),
        warnings=scored.warnings,
    )
    record = RankingRecord(
        request=ranked,
        scores=scores,
        model=scored.model,
        version=scored.version,
        max_length=scored.max_length,
        timings=timings,
        cached=scored.cached,
        time=now,
        adjustments=adjustments,
        rules=rules,
        experiment=scored.experiment,
        variant=scored.variant,
        teams=teams,
        instruction=scored.instruction,
    )
    return result, record
