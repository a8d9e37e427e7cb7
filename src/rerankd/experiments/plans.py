"""Plans of new experiments: what each kind of experiment does by default, and steps as people write them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd.errors import InvalidRequestError
from rerankd.experiments.experiment import ExperimentKind
from rerankd.experiments.guardrails import STEPS, ExperimentPlan


def default_plan(kind: ExperimentKind) -> ExperimentPlan:
    """Return the plan of an experiment whose starter asks for nothing else.

    Only a canary is promoted without a person; shadow traffic and interleaving cover everything from the start.

    Example:
        >>> default_plan("canary").auto_promote, default_plan("shadow").steps
        (True, (1.0,))
    """
    return ExperimentPlan(steps=STEPS if kind in ("canary", "split") else (1.0,), auto_promote=kind == "canary")


def parse_steps(text: str) -> tuple[float, ...]:
    """Return the coverages of a list of percentages.

    Raises:
        InvalidRequestError: the text is no such list.

    Example:
        >>> parse_steps("1, 10, 100")
        (0.01, 0.1, 1.0)
    """
    try:
        return tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        raise InvalidRequestError(
            f"{text[:100]!r} is not a list of steps.", hint="Write percentages, such as 1,10,100."
        ) from None


def format_steps(steps: Sequence[float]) -> str:
    """Return coverages as a list of percentages, as `parse_steps` reads it.

    Example:
        >>> format_steps((0.01, 0.1, 1.0))
        '1,10,100'
    """
    return ",".join(f"{100 * step:.6g}" for step in steps)
