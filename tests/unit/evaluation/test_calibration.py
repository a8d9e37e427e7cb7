from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rerankd.compiler.platt import Platt, fit_platt
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.calibration import calibrate
from rerankd.evaluation.calibration_pairs import LabelledPairs, concatenate_pairs, labelled_pairs, read_labelled_pairs
from rerankd.evaluation.reliability import measure_reliability

pytestmark = pytest.mark.slow


def made_up(pairs: int, scale: float, offset: float, seed: int = 1) -> LabelledPairs:
    """Logits whose labels follow sigmoid(scale * logit + offset)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-2, 3, pairs)
    labels = (generator.random(pairs) < Platt(scale, offset).probabilities(logits)).astype(float)
    return LabelledPairs(logits, labels, tuple(f"q{n // 10}" for n in range(pairs)))


def test_the_truth_is_found() -> None:
    pairs = made_up(100_000, 0.6, -1.5)
    fit = fit_platt(pairs.logits, pairs.labels)
    assert (fit.scale, fit.offset) == pytest.approx((0.6, -1.5), abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("balanced", [False, True])
def test_it_is_the_logistic_regression_of_scikit_learn(balanced: bool) -> None:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    pairs = made_up(200_000, 0.8, 0.5)
    theirs = LogisticRegression(C=1e9, class_weight="balanced" if balanced else None, tol=1e-10)
    theirs.fit(pairs.logits[:, None], pairs.labels)
    fit = fit_platt(pairs.logits, pairs.labels, balanced=balanced)
    # The smoothed targets differ from 0 and 1 by less than 1e-4 here.
    assert (fit.scale, fit.offset) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=2e-3)


@pytest.mark.parametrize("gap", [1e-3, 1.0, 1e4])
def test_separable_logits_do_not_diverge(gap: float) -> None:
    logits = np.concatenate([np.linspace(-2 * gap, -gap, 30), np.linspace(gap, 2 * gap, 20)])
    labels = np.repeat([0.0, 1.0], [30, 20])
    fit = fit_platt(logits, labels)
    assert np.isfinite([fit.scale, fit.offset]).all()
    probabilities = fit.probabilities(logits)
    assert 0 < probabilities.min() < 0.1
    assert 0.9 < probabilities.max() < 1
    # At the optimum both classes meet Platt's targets on average.
    assert probabilities.mean() == pytest.approx((20 * 21 / 22 + 30 / 32) / 50, abs=1e-6)


def test_extreme_logits() -> None:
    fit = fit_platt(np.array([-1e6, 1e6, -3.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert np.isfinite(fit.probabilities(np.array([-1e300, 0.0, 1e300]))).all()
    constant = fit_platt(np.full(100, 2.0), np.repeat([0.0, 1.0], [75, 25]))
    assert constant.probabilities(np.array([2.0]))[0] == pytest.approx(0.26, abs=0.01)
    with pytest.raises(InvalidRequestError, match="same label"):
        fit_platt(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    with pytest.raises(InvalidRequestError, match="not a number"):
        fit_platt(np.array([1.0, np.nan]), np.array([1.0, 0.0]))


@pytest.mark.slow
def test_calibration_makes_scores_shares() -> None:
    calibration = calibrate(made_up(20_000, 0.5, -2.0))
    assert calibration.queries == 2000
    assert calibration.before.ece.mean > 0.1
    assert calibration.after.ece.mean < 0.02
    assert calibration.after.brier.high < calibration.before.brier.low
    assert calibrate(made_up(20_000, 0.5, -2.0)) == calibration


def test_what_cannot_be_calibrated() -> None:
    with pytest.raises(InvalidRequestError, match="higher"):
        calibrate(made_up(5000, -0.5, 0.0))
    with pytest.raises(InvalidRequestError, match="at least 10 queries; there are 5"):
        calibrate(made_up(50, 0.5, 0.0))
    lonely = LabelledPairs(np.arange(40.0), np.eye(40)[39], tuple(f"q{n}" for n in range(40)))
    with pytest.raises(InvalidRequestError, match="Too few queries"):
        calibrate(lonely)


def test_reliability_by_hand() -> None:
    probabilities, labels = np.array([0.05, 0.05, 0.95, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    reliability = measure_reliability(probabilities, labels, ["a", "a", "b", "b"])
    assert [(b.pairs, round(b.score, 3), b.relevant) for b in reliability.bins] == [(2, 0.05, 0.5), (2, 0.975, 1.0)]
    assert reliability.ece.mean == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)
    assert reliability.brier.mean == pytest.approx((0.05**2 + 0.95**2 + 0.05**2) / 4)
    assert reliability.ece.low == pytest.approx(0.025)
    assert reliability.ece.high == pytest.approx(0.45)


def test_intervals_draw_queries_not_pairs() -> None:
    """Pairs repeated ten times inside their queries tell nothing new: the interval stays as wide."""
    pairs = made_up(500, 1.0, 0.0)
    scores = Platt(1.0, 0.0).probabilities(pairs.logits)
    once = measure_reliability(scores, pairs.labels, pairs.query_ids)
    often = measure_reliability(
        np.repeat(scores, 10), np.repeat(pairs.labels, 10), np.repeat(pairs.query_ids, 10).tolist()
    )
    for one, other in ((often.brier, once.brier), (often.ece, once.ece)):
        assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_pairs_of_datasets_stay_apart(tmp_path: Path) -> None:
    logits = {"q": {"a": 2.0, "b": -1.0}}
    both = concatenate_pairs(
        [labelled_pairs(logits, {"q": {"a": 1, "b": 0}}, "one"), labelled_pairs(logits, {"q": {"b": 3}}, "two")]
    )
    assert both.labels.tolist() == [1, 0, 0, 1]
    assert both.query_ids == ("one/q", "one/q", "two/q", "two/q")
    path = tmp_path / "pairs.jsonl"
    rows = [{"query": "q", "document": "d", "label": 2}, {"query": "q", "text": "e", "label": False}]
    path.write_text("\n".join(map(json.dumps, rows)))
    pairs, labels = read_labelled_pairs(path)
    assert (pairs[1].document, labels) == ("e", [1.0, 0.0])
    path.write_text('{"query": "q", "document": "d", "label": "yes"}')
    with pytest.raises(InvalidInputFileError, match="line 1: the label is 'yes'"):
        read_labelled_pairs(path)
    path.write_text("")
    with pytest.raises(InvalidInputFileError, match="holds no pairs"):
        read_labelled_pairs(path)
