"""What scoring gives to the pipeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rerankd.engine.request import ScoreResult
from rerankd.scoring.encoder import TruncationOptions

Charge = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Scores of pairs in their order, and what they cost.

    Attributes:
        model: name of the model that scored, as requests call it.
        version: changes with its files and what computes them.
        truncation: how pairs were cut.
        experiment: name of the experiment that they are part of; empty for none.
        arm: which of its arms answered.
        other: the challenger's scores, where one list is to be made of both.
    """

    model: str
    version: str
    truncation: TruncationOptions
    scored: ScoreResult
    experiment: str = ""
    variant: str = ""
    other: ScoreResult | None = None

    @property
    def part_of(self) -> str:
        """Experiment and arm as answers name them; empty for none."""
        return f"{self.experiment}/{self.variant}" if self.experiment else ""


class OneTimeCharge:
    """A charge that is made once, however many models score a request."""

    def __init__(self, charge: Charge | None) -> None:
        self._charge = charge
        self.refusal: BaseException | None = None

    async def __call__(self, tokens: int) -> None:
        """Charge, the first time.

        Raises:
            RerankdError: what the charge has against it; `refusal` is that.
        """
        charge, self._charge = self._charge, None
        if charge is None:
            return
        try:
            await charge(tokens)
        except BaseException as error:
            self.refusal = error
            raise
