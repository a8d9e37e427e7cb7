from __future__ import annotations

import numpy as np
import pytest

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.comparison import compare_runs, holm_corrected
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import Evaluation, evaluate
from rerankd.evaluation.measures import measure_queries
from rerankd.evaluation.query_diff import largest_changes
from rerankd.evaluation.run import FIRST_STAGE, Latency, RankingRun, first_stage_run
from rerankd.evaluation.summary import result_rows
from rerankd.evaluation.trec import Qrels, Rankings
from tests.unit.evaluation.folders import made_up, shaken

pytestmark = pytest.mark.slow


def dataset(name: str, qrels: Qrels, candidates: Rankings) -> Dataset:
    return Dataset(name, {query: f"text of {query}" for query in qrels}, {}, qrels, candidates, "a run")


def against(qrels: Qrels, before: Rankings, after: Rankings) -> Evaluation:
    made = dataset("made-up", qrels, before)
    return evaluate([(made, [first_stage_run(made), RankingRun("model", after)])], ["nDCG@10"])


def worsened(qrels: Qrels, rankings: Rankings, target: float, seed: int) -> Rankings:
    """Move relevant documents down by one place until the mean of nDCG@10 has lost `target`."""
    changed = dict(rankings)
    lost, generator = 0.0, np.random.default_rng(seed)
    for query in generator.permutation(sorted(qrels)).tolist():
        position = changed[query].index(next(iter(qrels[query])))
        if position > 8:
            continue
        ranking = list(changed[query])
        ranking[position], ranking[position + 1] = ranking[position + 1], ranking[position]
        changed[query] = tuple(ranking)
        lost += (1 / np.log2(position + 2) - 1 / np.log2(position + 3)) / len(qrels)
        if lost >= target:
            break
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_regression_of_one_hundredth_is_found_on_a_thousand_queries(seed: int) -> None:
    qrels, rankings = made_up(1000, 50, seed=seed)
    before = shaken(rankings, 0.4, seed=seed + 100)
    comparison = against(qrels, before, worsened(qrels, before, 0.01, seed)).comparisons[0]
    assert comparison.deltas[0].mean == pytest.approx(-0.01, abs=0.0005)
    assert comparison.conclusion == "worse"
    assert comparison.deltas[0].high < 0


@pytest.mark.slow
def test_a_regression_is_found_under_noise_on_nine_queries_of_ten() -> None:
    """Besides the loss, a tenth of all queries go up or down by chance: standard deviation about 0.08."""
    detected = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        noise = np.where(generator.random(1000) < 0.1, generator.normal(0, 0.25, 1000), 0.0)
        before = np.full((1000, 1), 0.5)
        result = compare_runs("after", before + (noise - noise.mean() - 0.01)[:, None], "before", before, samples=2000)
        detected += result.conclusion == "worse"
    assert detected >= 36


@pytest.mark.slow
def test_equal_systems_raise_no_alarm() -> None:
    """Two systems that are as good as each other and differ on many queries: 200 times, no alarm in 190 or more."""
    alarms = improvements = 0
    for seed in range(200):
        qrels, rankings = made_up(120, 20, seed=seed)
        one, other = shaken(rankings, 1.5, seed=1000 + seed), shaken(rankings, 1.5, seed=5000 + seed)
        before, after = (measure_queries(["RR@10"], qrels, run, sorted(qrels)) for run in (one, other))
        assert (before != after).any()
        conclusion = compare_runs("b", after, "a", before, samples=1000).conclusion
        alarms += conclusion == "worse"
        improvements += conclusion == "better"
    assert alarms <= 10
    assert alarms + improvements <= 18  # 10 expected of a test at 5 %, both sides; 3 is its standard deviation


def test_a_system_against_itself_is_a_tie() -> None:
    qrels, rankings = made_up(100, 20, seed=1)
    comparison = against(qrels, rankings, rankings).comparisons[0]
    assert (comparison.wins, comparison.ties, comparison.losses, comparison.p) == (0, 100, 0, 1.0)
    assert comparison.conclusion == "no difference shown"
    assert comparison.deltas[0].low == comparison.deltas[0].high == 0


def test_rounding_is_no_win() -> None:
    before = np.full((50, 1), 0.3)
    comparison = compare_runs("a", before + 1e-12, "b", before)
    assert (comparison.ties, comparison.p) == (50, 1.0)


@pytest.mark.slow
def test_comparisons_of_all_datasets_share_one_correction() -> None:
    work = []
    for name, seed in (("one", 1), ("two", 2)):
        qrels, rankings = made_up(300, 20, seed=seed)
        made = dataset(name, qrels, shaken(rankings, 1, seed))
        systems = [RankingRun(n, shaken(rankings, noise, seed + 9)) for n, noise in (("good", 0.5), ("bad", 4.0))]
        work.append((made, [first_stage_run(made), *systems]))
    evaluation = evaluate(work, ["nDCG@10", "RR@10"])
    assert [c.p_holm for c in evaluation.comparisons] == [c.p_holm for c in holm_corrected(evaluation.comparisons)]
    assert len(evaluation.comparisons) == 4
    assert max(c.p_holm / c.p for c in evaluation.comparisons) == pytest.approx(4)
    assert {c.conclusion for c in evaluation.comparisons if c.run == "bad"} == {"worse"}
    assert [name for name, _ in evaluation.below(-0.005)] == ["one", "two"]
    assert evaluation.below(-1.0) == ()
    assert evaluate(work, ["nDCG@10"], "good").comparisons[0].run == FIRST_STAGE


def test_what_does_not_fit_is_refused() -> None:
    qrels, rankings = made_up(10, 5, seed=1)
    made = dataset("made-up", qrels, rankings)
    with pytest.raises(InvalidRequestError, match="nothing to evaluate"):
        evaluate([], ["nDCG@10"])
    with pytest.raises(InvalidRequestError, match="no run 'x'. The baseline is one of first-stage"):
        evaluate([(made, [first_stage_run(made)])], ["nDCG@10"], "x")
    with pytest.raises(InvalidRequestError, match="names of the runs do not match"):
        evaluate([(made, [first_stage_run(made), first_stage_run(made)])], ["nDCG@10"])


def test_worst_and_best_queries() -> None:
    qrels = {"up": {"a": 1}, "down": {"a": 1, "z": 1}, "same": {"a": 1}}
    before = {"up": ("b", "a"), "down": ("a", "b"), "same": ("a", "b")}
    after = {"up": ("a", "b"), "down": ("b", "a", "c"), "same": ("a", "b")}
    result = against(qrels, before, after).results[0]
    worst, best = largest_changes(result, "model", FIRST_STAGE)
    assert [case.query_id for case in worst] == ["down"]
    assert [case.query_id for case in best] == ["up"]
    assert best[0].delta == pytest.approx(1 - 1 / np.log2(3))
    assert best[0].query == "text of up"
    moves = {move.doc_id: (move.before, move.after, move.grade) for move in worst[0].documents}
    assert moves == {"b": (2, 1, 0), "a": (1, 2, 1), "c": (None, 3, 0)}


def test_rows_say_everything() -> None:
    qrels, rankings = made_up(40, 10, seed=3)
    made = dataset("made-up", qrels, {query: ranking for query, ranking in rankings.items() if query != "q0"})
    model = RankingRun("model", made.candidates, latency=Latency((1.0, 3.0), 100, 4), description="onnx")
    first, second = result_rows(evaluate([(made, [first_stage_run(made), model])], ["nDCG@10", "AP"]))
    assert first["without_candidates"] == 1
    assert "comparison" not in first
    assert second["latency"]["pairs_per_second"] == 25_000
    assert second["latency"]["p50_ms"] == 2.0
    assert second["comparison"]["verdict"] == "no difference shown"
    assert set(second["measures"]) == {"nDCG@10", "AP"}
    assert made.candidate_recall == pytest.approx(39 / 40)
