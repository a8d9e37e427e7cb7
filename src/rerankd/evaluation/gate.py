"""Whether a candidate may take the champion's place: better on the domain, harmless elsewhere, and affordable.

The decision is a record that people can read and machines can check: every limit with what was measured, and signed.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from rerankd.compiler.platt import Platt
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.bootstrap import Interval
from rerankd.evaluation.calibration_pairs import joined, labelled
from rerankd.evaluation.evaluation import DatasetResult, Evaluation
from rerankd.evaluation.reliability import reliability
from rerankd.evaluation.run import System

MIN_KEY = 16
TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of a candidate; the first measure of the evaluation is meant by gain and loss.

    Attributes:
        gain: lower 95 % bound of the difference on each domain set has to be above this.
        loss: lower bound on each general set may be so far below 0.
        regressions: closed bad cases that may get worse.
        calibration: expected calibration error on the domain may be so much above the champion's.
        latency: median time of a request may be so many times the champion's.
        size: bytes of the weights may be so many times the champion's.
    """

    gain: float = 0.0
    loss: float = 0.005
    regressions: int = 0
    calibration: float = 0.02
    latency: float = 1.2
    size: float = 1.1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked.

    Attributes:
        name: what.
        passed: whether it was met.
        measured: the number that counts.
        limit: what it was held against.
        says: one sentence.
    """

    name: str
    passed: bool
    measured: float
    limit: float
    says: str


@dataclass(frozen=True, slots=True)
class Decision:
    """A gate's record.

    Attributes:
        candidate: name and version of the model that wants in.
        champion: of the one that is in.
        passed: whether every check did.
        checks: all of them.
        limits: what was asked.
        data: SHA-256 of the judgements of each set.
        time: seconds since 1970.
        signature: HMAC-SHA256 of all else; empty for none.
    """

    candidate: str
    champion: str
    passed: bool
    checks: tuple[Check, ...]
    limits: Limits
    data: Mapping[str, str]
    time: float
    signature: str = field(default="")

    def content(self) -> bytes:
        """What is signed."""
        said = asdict(self)
        del said["signature"]
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)

    def signed(self, key: str) -> Decision:
        """The record with its signature.

        Raises:
            InvalidRequestError: the key is too short to protect anything.
        """
        if len(key) < MIN_KEY:
            raise InvalidRequestError(f"The key has {len(key)} characters.", hint=f"Use {MIN_KEY} at least.")
        mark = hmac.new(key.encode(), self.content(), hashlib.sha256).hexdigest()
        return replace(self, signature=mark)

    def valid(self, key: str) -> bool:
        """Whether the signature is that of this record under this key."""
        return bool(self.signature) and hmac.compare_digest(self.signed(key).signature, self.signature)


@dataclass(frozen=True, slots=True)
class Contender:
    """A model as the gate knows it.

    Attributes:
        system: its name in the evaluation.
        version: of its files.
        size: bytes of its weights.
    """

    system: str
    version: str
    size: int


def judge(
    evaluation: Evaluation,
    candidate: Contender,
    champion: Contender,
    domain: Sequence[str],
    general: Sequence[str] = (),
    cases: Sequence[str] = (),
    limits: Limits | None = None,
) -> Decision:
    """Judge a candidate.

    Args:
        evaluation: of both models on all sets, with the champion as the baseline.
        candidate: who wants in.
        champion: who is in.
        domain: names of the sets on which it has to gain.
        general: of those on which it must not lose.
        cases: of closed bad cases.
        limits: what is asked.

    Raises:
        InvalidRequestError: no domain set.
    """
    limits = limits or Limits()
    if not domain:
        raise InvalidRequestError("There is no domain set.", hint="Say with --domain where it has to gain.")
    found = {result.dataset.name: result for result in evaluation.results}
    measure = evaluation.measures[0]
    checks = [_gain(found[name], measure, limits.gain) for name in domain]
    checks += [_loss(found[name], measure, limits.loss) for name in general]
    if cases:
        checks.append(_cases([found[name] for name in cases], candidate, champion, limits.regressions))
    checks.append(_calibration([found[name] for name in domain], candidate, champion, limits.calibration))
    checks.append(_latency(list(found.values()), candidate, champion, limits.latency))
    ratio = candidate.size / max(1, champion.size)
    says = f"{candidate.size / 1e6:.1f} MB against {champion.size / 1e6:.1f} MB."
    checks.append(Check("size", ratio <= limits.size, round(ratio, 4), limits.size, says))
    data = {name: _digest(result) for name, result in found.items()}
    new, old = (f"{one.system}@{one.version}" for one in (candidate, champion))
    return Decision(new, old, all(check.passed for check in checks), tuple(checks), limits, data, time.time())


def _delta(result: DatasetResult, measure: str) -> tuple[Interval, str]:
    """How the candidate differs by the first measure, and that in a sentence."""
    [comparison] = result.comparisons
    new, old = (float(result.measured(name).values[:, 0].mean()) for name in (comparison.system, comparison.baseline))
    delta = comparison.deltas[0]
    return delta, f"{measure} {new:.4f} against {old:.4f}: {delta.mean:+.4f}, at least {delta.low:+.4f}."


def _gain(result: DatasetResult, measure: str, limit: float) -> Check:
    delta, says = _delta(result, measure)
    return Check(f"gain on {result.dataset.name}", delta.low > limit, round(delta.low, 6), limit, says)


def _loss(result: DatasetResult, measure: str, limit: float) -> Check:
    delta, says = _delta(result, measure)
    return Check(f"no loss on {result.dataset.name}", delta.low > -limit, round(delta.low, 6), -limit, says)


def _cases(results: Sequence[DatasetResult], candidate: Contender, champion: Contender, limit: int) -> Check:
    worse: list[str] = []
    total = 0
    for result in results:
        new, old = (result.measured(one.system).values[:, 0] for one in (candidate, champion))
        total += len(result.queries)
        worse += [query for query, a, b in zip(result.queries, new, old, strict=True) if a < b - TIE]
    named = f", among them {worse[0]}" if worse else ""
    says = f"{len(worse)} of {total} closed cases get worse{named}."
    return Check("closed cases", len(worse) <= limit, len(worse), limit, says)


def _calibration(results: Sequence[DatasetResult], candidate: Contender, champion: Contender, limit: float) -> Check:
    errors = []
    for one in (candidate, champion):
        parts = [
            labelled(result.measured(one.system).system.logits or {}, result.dataset.qrels, result.dataset.name)
            for result in results
        ]
        pairs = joined(parts)
        scores = Platt(1.0, 0.0).probabilities(pairs.logits)
        errors.append(reliability(scores, pairs.labels, pairs.groups).ece.mean)
    rise = errors[0] - errors[1]
    says = f"Expected calibration error {errors[0]:.4f} against {errors[1]:.4f}."
    return Check("calibration", rise <= limit, round(rise, 6), limit, says)


def _latency(results: Sequence[DatasetResult], candidate: Contender, champion: Contender, limit: float) -> Check:
    medians = []
    for one in (candidate, champion):
        times = [time for result in results for time in _times(result.measured(one.system).system)]
        medians.append(float(np.median(times)) if times else 0.0)
    ratio = medians[0] / max(medians[1], 1e-9)
    says = f"A request takes {medians[0]:.1f} ms against {medians[1]:.1f} ms (median)."
    return Check("latency", ratio <= limit, round(ratio, 4), limit, says)


def _times(system: System) -> tuple[float, ...]:
    return system.latency.milliseconds if system.latency is not None else ()


def _digest(result: DatasetResult) -> str:
    said = {query: dict(result.dataset.qrels[query]) for query in result.queries}
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def write_decision(path: Path, decision: Decision) -> None:
    """Write a record for people and machines.

    Raises:
        InvalidRequestError: the path cannot be written.
    """
    try:
        path.write_bytes(orjson.dumps(asdict(decision), option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written ({error.strerror}).", hint="Check the folder.") from error


def read_decision(path: Path) -> Decision:
    """Read a record.

    Raises:
        InvalidInputFileError: it is none.
    """
    try:
        said: dict[str, Any] = orjson.loads(path.read_bytes())
        checks = tuple(Check(**check) for check in said.pop("checks"))
        return Decision(**said | {"checks": checks, "limits": Limits(**said["limits"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputFileError(f"{path} is no record of a gate.", hint="Make one: rerankd gate") from error
