"""The report of an evaluation as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from rerankd._common.plural import counted
from rerankd.compiler.platt import Platt
from rerankd.evaluation.bootstrap import LEVEL, SAMPLES
from rerankd.evaluation.calibration_pairs import labelled_pairs
from rerankd.evaluation.comparison import Comparison, Conclusion
from rerankd.evaluation.evaluation import DatasetResult, Evaluation, MeasuredRun
from rerankd.evaluation.measures import GAIN
from rerankd.evaluation.query_diff import QueryChange, largest_changes
from rerankd.evaluation.reliability import Reliability, measure_reliability
from rerankd.evaluation.report.charts import delta_bars, forest, latency_curves, legend, scatter
from rerankd.evaluation.report.diagrams import reliability_diagram
from rerankd.evaluation.report.markup import Markup
from rerankd.evaluation.report.page import render_page
from rerankd.evaluation.run import Latency
from rerankd.evaluation.summary import QUERIES_SHOWN, result_rows

RELIABILITY_SAMPLES = 500
WORDS: dict[str, Any] = {
    **{name: name for name in ("dataset", "system", "to", "won", "tied", "lost", "verdict")},
    "p_holm": "p (Holm)",
    "names": {},
    "verdicts": {verdict: verdict for verdict in get_args(Conclusion)},
}
"""Words of the tables of `macros.html`, which the console shows in other languages."""


@dataclass(frozen=True, slots=True)
class _Chart:
    """A chart with its caption."""

    caption: str
    svg: Markup
    remark: str


@dataclass(frozen=True, slots=True)
class _ComparisonView:
    """Charts and queries of one comparison."""

    comparison: Comparison
    charts: tuple[_Chart, ...]
    queries: tuple[tuple[str, tuple[QueryChange, ...]], ...]


@dataclass(frozen=True, slots=True)
class _DatasetView:
    """The section of one dataset."""

    result: DatasetResult
    description: str
    comparisons: tuple[_ComparisonView, ...]
    latencies: tuple[tuple[str, Latency], ...]
    latency_chart: Markup | None


def render_report(evaluation: Evaluation, queries: int = QUERIES_SHOWN) -> str:
    """Return the HTML document of an evaluation.

    Args:
        evaluation: the evaluation.
        queries: maximum number of worst and of best queries in each comparison.

    Raises:
        MissingDependencyError: the extra `eval` is not installed.
    """
    compared = [(result, comparison) for result in evaluation.results for comparison in result.comparisons]
    rows = [(_comparison_name(evaluation, *pair), pair[1].deltas[0]) for pair in compared]
    return render_page(
        "evaluation.html",
        "Evaluation of rankings",
        evaluation=evaluation,
        compared=compared,
        rows=list(result_rows(evaluation, 0)),
        words=WORDS,
        forest=forest(rows, evaluation.measures[0]) if rows else None,
        legend=legend(),
        sections=[_dataset_view(evaluation, result, queries) for result in evaluation.results],
        gain=GAIN,
        samples=SAMPLES,
        level=LEVEL,
    )


def _comparison_name(evaluation: Evaluation, result: DatasetResult, comparison: Comparison) -> str:
    several = len({other.run for other in evaluation.comparisons}) > 1
    return f"{result.dataset.name}: {comparison.run}" if several else result.dataset.name


def _dataset_view(evaluation: Evaluation, result: DatasetResult, queries: int) -> _DatasetView:
    latencies = tuple(
        (measured.run.name, measured.run.latency) for measured in result.runs if measured.run.latency is not None
    )
    return _DatasetView(
        result=result,
        description=_description(result),
        comparisons=tuple(_comparison_view(evaluation, result, pair, queries) for pair in result.comparisons),
        latencies=latencies,
        latency_chart=latency_curves(latencies) if latencies else None,
    )


def _description(result: DatasetResult) -> str:
    dataset = result.dataset
    without_candidates = len(result.query_ids) - len(dataset.candidates)
    queries = counted(len(result.query_ids), "judged query", "judged queries")
    description = f"{queries}. First stage: {dataset.first_stage or 'none'}. "
    if dataset.candidates:
        recall = dataset.candidate_recall
        description += f"{recall:.1%} of the relevant documents are among the candidates; no order can find more. "
        if without_candidates:
            phrases = ("query has no candidates and counts 0", "queries have no candidates and count 0")
            description += f"{counted(without_candidates, *phrases)}. "
    else:
        description += "No query has candidates, so every measure is 0. "
    return description + " ".join(dataset.notices)


def _comparison_view(
    evaluation: Evaluation, result: DatasetResult, comparison: Comparison, queries: int
) -> _ComparisonView:
    measure = evaluation.measures[0]
    before, after = result.run(comparison.baseline), result.run(comparison.run)
    before_values, after_values = before.values[:, 0], after.values[:, 0]
    labels = [result.dataset.queries[query_id] or query_id for query_id in result.query_ids]
    names = (comparison.baseline, comparison.run)
    charts = [
        _Chart(
            "Each query, before and after",
            scatter(before_values, after_values, measure, names),
            "above the line: better; area: number of queries",
        ),
        _Chart(
            "Gains and losses", delta_bars(after_values - before_values, labels, measure), "every query's difference"
        ),
    ]
    if (reliability := _reliability(result, after)) is not None:
        charts.append(
            _Chart(
                "Reliability of scores",
                reliability_diagram([(comparison.run, reliability)]),
                "candidates of all queries, unjudged ones taken as irrelevant; on the line: scores are probabilities",
            )
        )
    losses, gains = largest_changes(result, comparison.run, comparison.baseline, queries)
    return _ComparisonView(comparison, tuple(charts), (("Worst queries", losses), ("Best queries", gains)))


def _reliability(result: DatasetResult, measured: MeasuredRun) -> Reliability | None:
    if not measured.run.logits:
        return None
    pairs = labelled_pairs(measured.run.logits, result.dataset.qrels)
    probabilities = Platt(1.0, 0.0).probabilities(pairs.logits)
    return measure_reliability(probabilities, pairs.labels, pairs.query_ids, samples=RELIABILITY_SAMPLES)
