"""Scores in the pipeline: those of one model, and those of a request that was scored in several pieces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rerankd._common.timing import TIMINGS
from rerankd.engine.engine import Engine
from rerankd.engine.request import EngineRequest, ScoreResult
from rerankd.errors import DeadlineExceededError
from rerankd.ranking.finish import RequestScores, experiment_label
from rerankd.scoring.encoder import TruncationOptions

Charge = Callable[[int], Awaitable[None]]
ChargeBatch = Callable[[int, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Scores of groups of pairs by one model of the pool.

    Attributes:
        model: name of the model that scored, as requests call it.
        version: fingerprint of the model's files and of the backend that computed.
        truncation: truncation of the pairs.
        result: scores and costs, from the engine.
        experiment: name of the experiment that the request is part of; empty for none.
        variant: variant of the experiment that answers.
        challenger: the challenger's result, if one list is to be interleaved from both rankings.
        warnings: what was asked for and not done.
    """

    model: str
    version: str
    truncation: TruncationOptions
    result: ScoreResult
    experiment: str = ""
    variant: str = ""
    challenger: ScoreResult | None = None
    warnings: tuple[str, ...] = ()

    @property
    def experiment_label(self) -> str:
        """Experiment and variant as responses name them, `name/variant`; empty for none."""
        return experiment_label(self.experiment, self.variant)


async def wait_for_scores(engine: Engine, request: EngineRequest) -> ScoreResult:
    """Return the scores of a queued request; it is dropped if its caller is gone, or its time is up, before.

    Args:
        engine: engine that it is queued in.
        request: the request.

    Raises:
        RerankdError: the model gives no usable score.
    """
    try:
        return await asyncio.wrap_future(request.future)
    except asyncio.CancelledError:  # drop what was not computed
        deadline = request.request.deadline
        late = deadline is not None and time.monotonic() >= deadline
        engine.cancel(request, deadline_error() if late else None, "deadline" if late else "cancelled")
        raise


def deadline_error() -> DeadlineExceededError:
    """Return the error of a request whose time limit passed."""
    return DeadlineExceededError("The request's time was up.", hint="Give it more time, or send fewer documents.")


def join_pieces(pieces: Sequence[ModelScores]) -> RequestScores:
    """Join the scores of one request whose documents were scored in pieces, one after the other.

    Args:
        pieces: scores of one group each, in the order of the documents; several only if they are not interleaved.

    Example:
        >>> join_pieces([]).scores
        []
    """
    if not pieces:
        return RequestScores([], "", "", 0, {}, computed_tokens=0)
    last = pieces[-1]
    return RequestScores(
        scores=[score for piece in pieces for score in piece.result.scores[0]],
        model=last.model,
        version=last.version,
        max_length=last.truncation.max_length,
        timings={step: sum(piece.result.timings.get(step, 0.0) for piece in pieces) for step in TIMINGS},
        cached=sum(piece.result.cached for piece in pieces),
        computed_tokens=sum(piece.result.computed_tokens for piece in pieces),
        experiment=last.experiment,
        variant=last.variant,
        challenger_scores=None if last.challenger is None else last.challenger.scores[0],
        instruction=last.truncation.instruction,
        warnings=last.warnings,
    )


class OneTimeCharge:
    """A quota charge that is made once, however many models score a request.

    Attributes:
        refusal: the error with which the charge was refused; None if it was not.
    """

    def __init__(self, charge: Charge | None) -> None:
        self._charge = charge
        self.refusal: BaseException | None = None

    async def __call__(self, tokens: int) -> None:
        """Charge the tokens at the first call; do nothing after that.

        Raises:
            RerankdError: the charge is refused, for example because a quota is used up.
        """
        charge, self._charge = self._charge, None
        if charge is None:
            return
        try:
            await charge(tokens)
        except BaseException as error:
            self.refusal = error
            raise
