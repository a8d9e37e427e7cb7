"""The promotion gate: a candidate must be better on the domain, no worse elsewhere, and affordable.

The decision is a record for people and machines: every limit with the measured value, signed with HMAC-SHA256.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from rerankd.compiler.platt import Platt
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.bootstrap import Interval
from rerankd.evaluation.calibration_pairs import concatenate_pairs, labelled_pairs
from rerankd.evaluation.evaluation import DatasetResult, Evaluation
from rerankd.evaluation.gate_record import GateCheck, GateDecision, GateLimits
from rerankd.evaluation.reliability import measure_reliability
from rerankd.evaluation.run import RankingRun

TIE = 1e-9


@dataclass(frozen=True, slots=True)
class GateModel:
    """A model that takes part in a gate.

    Attributes:
        run: name of its run in the evaluation.
        version: version of its files.
        size: bytes of its weights.
        digest: SHA-256 of its files.
    """

    run: str
    version: str
    size: int
    digest: str = ""


def decide(
    evaluation: Evaluation,
    candidate: GateModel,
    champion: GateModel,
    domain: Sequence[str],
    general: Sequence[str] = (),
    cases: Sequence[str] = (),
    limits: GateLimits | None = None,
) -> GateDecision:
    """Check a candidate against the limits.

    Args:
        evaluation: evaluation of both models on all datasets, with the champion as the baseline.
        candidate: model to be promoted.
        champion: model in service.
        domain: names of the datasets on which the candidate must gain.
        general: names of the datasets on which it must not lose.
        cases: names of the datasets of closed bad cases.
        limits: limits; None for the defaults.

    Raises:
        InvalidRequestError: no domain set.
    """
    limits = limits or GateLimits()
    if not domain:
        raise InvalidRequestError("There is no domain set.", hint="Name one with --domain.")
    results = {result.dataset.name: result for result in evaluation.results}
    measure = evaluation.measures[0]
    checks = [_check_gain(results[name], measure, limits.gain) for name in domain]
    checks += [_check_loss(results[name], measure, limits.loss) for name in general]
    if cases:
        checks.append(_check_cases([results[name] for name in cases], candidate, champion, limits.regressions))
    checks.append(_check_calibration([results[name] for name in domain], candidate, champion, limits.calibration))
    checks.append(_check_latency(list(results.values()), candidate, champion, limits.latency))
    checks.append(_check_size(candidate, champion, limits.size))
    return GateDecision(
        candidate=f"{candidate.run}@{candidate.version}",
        champion=f"{champion.run}@{champion.version}",
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        limits=limits,
        data={name: _judgement_digest(result) for name, result in results.items()},
        time=time.time(),
        digest=candidate.digest,
    )


def _difference(result: DatasetResult, measure: str, limit: float) -> tuple[Interval, str]:
    """Return the difference of the first measure, and a sentence about it and its limit."""
    [comparison] = result.comparisons
    after, before = (float(result.run(name).values[:, 0].mean()) for name in (comparison.run, comparison.baseline))
    delta = comparison.deltas[0]
    change = f"{measure} {after:.4f} against {before:.4f}: {delta.mean:+.4f}"
    return delta, f"{change}, lower bound {delta.low:+.4f}; must be above {limit:g}."


def _check_gain(result: DatasetResult, measure: str, limit: float) -> GateCheck:
    delta, message = _difference(result, measure, limit)
    return GateCheck(f"gain on {result.dataset.name}", delta.low > limit, round(delta.low, 6), limit, message)


def _check_loss(result: DatasetResult, measure: str, limit: float) -> GateCheck:
    delta, message = _difference(result, measure, -limit)
    return GateCheck(f"no loss on {result.dataset.name}", delta.low > -limit, round(delta.low, 6), -limit, message)


def _check_cases(results: Sequence[DatasetResult], candidate: GateModel, champion: GateModel, limit: int) -> GateCheck:
    worse: list[str] = []
    total = 0
    for result in results:
        after, before = (result.run(model.run).values[:, 0] for model in (candidate, champion))
        total += len(result.query_ids)
        worse += [
            query_id for query_id, new, old in zip(result.query_ids, after, before, strict=True) if new < old - TIE
        ]
    example = f", among them {worse[0]}" if worse else ""
    message = f"{len(worse)} of {total} closed cases get worse{example}."
    return GateCheck("closed cases", len(worse) <= limit, len(worse), limit, message)


def _check_calibration(
    results: Sequence[DatasetResult], candidate: GateModel, champion: GateModel, limit: float
) -> GateCheck:
    errors = []
    for model in (candidate, champion):
        pairs = concatenate_pairs(
            labelled_pairs(result.run(model.run).run.logits or {}, result.dataset.qrels, result.dataset.name)
            for result in results
        )
        probabilities = Platt(1.0, 0.0).probabilities(pairs.logits)
        errors.append(measure_reliability(probabilities, pairs.labels, pairs.query_ids).ece.mean)
    rise = errors[0] - errors[1]
    message = f"Expected calibration error {errors[0]:.4f} against {errors[1]:.4f}."
    return GateCheck("calibration", rise <= limit, round(rise, 6), limit, message)


def _check_latency(
    results: Sequence[DatasetResult], candidate: GateModel, champion: GateModel, limit: float
) -> GateCheck:
    medians = []
    for model in (candidate, champion):
        latencies = [latency for result in results for latency in _latencies(result.run(model.run).run)]
        medians.append(float(np.median(latencies)) if latencies else 0.0)
    ratio = medians[0] / max(medians[1], 1e-9)
    message = f"A request takes {medians[0]:.1f} ms against {medians[1]:.1f} ms (median)."
    return GateCheck("latency", ratio <= limit, round(ratio, 4), limit, message)


def _check_size(candidate: GateModel, champion: GateModel, limit: float) -> GateCheck:
    ratio = candidate.size / max(1, champion.size)
    message = f"{candidate.size / 1e6:.1f} MB against {champion.size / 1e6:.1f} MB."
    return GateCheck("size", ratio <= limit, round(ratio, 4), limit, message)


def _latencies(run: RankingRun) -> tuple[float, ...]:
    return run.latency.milliseconds if run.latency is not None else ()


def _judgement_digest(result: DatasetResult) -> str:
    judgements = {query_id: dict(result.dataset.qrels[query_id]) for query_id in result.query_ids}
    return hashlib.sha256(orjson.dumps(judgements, option=orjson.OPT_SORT_KEYS)).hexdigest()
