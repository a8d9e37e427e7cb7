"""The report of an evaluation as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd.compiler.platt import Platt
from rerankd.evaluation.bootstrap import LEVEL, SAMPLES, Interval
from rerankd.evaluation.calibration_pairs import labelled_pairs
from rerankd.evaluation.comparison import Comparison
from rerankd.evaluation.evaluation import DatasetResult, Evaluation, MeasuredRun
from rerankd.evaluation.measures import GAIN
from rerankd.evaluation.query_diff import QueryChange, largest_changes
from rerankd.evaluation.reliability import Reliability, measure_reliability
from rerankd.evaluation.report.charts import delta_bars, forest, latency_curves, legend, scatter, side, signed
from rerankd.evaluation.report.diagrams import rank_moves, reliability_diagram
from rerankd.evaluation.report.markup import Markup, element, joined
from rerankd.evaluation.report.page import figure, page
from rerankd.evaluation.run import Latency
from rerankd.evaluation.summary import QUERIES_SHOWN

_TEXT = 260
_LISTED = 5
_SENTENCES = 8


def render_report(evaluation: Evaluation, cases: int = QUERIES_SHOWN) -> str:
    """The HTML document.

    Args:
        evaluation: what to show.
        cases: worst and best queries to show of each comparison.
    """
    parts = []
    if len(evaluation.comparisons) <= _SENTENCES:
        parts += [_sentence(evaluation, result, found) for result, found in _compared(evaluation)]
    parts.append(_measures(evaluation))
    if evaluation.comparisons:
        parts.append(_comparisons(evaluation))
        parts += [_deltas(evaluation)] if len(evaluation.measures) > 1 else []
        rows = [(_name(evaluation, result, found), found.deltas[0]) for result, found in _compared(evaluation)]
        parts.append(
            figure(f"Against {evaluation.baseline}", forest(rows, evaluation.measures[0]), "right of 0: better")
        )
    for result in evaluation.results:
        parts.append(_section(evaluation, result, cases))
    parts.append(_notes(evaluation))
    return page("Evaluation of rankings", *parts)


def _compared(evaluation: Evaluation) -> list[tuple[DatasetResult, Comparison]]:
    return [(result, found) for result in evaluation.results for found in result.comparisons]


def _name(evaluation: Evaluation, result: DatasetResult, found: Comparison) -> str:
    several = len({comparison.run for comparison in evaluation.comparisons}) > 1
    return f"{result.dataset.name}: {found.run}" if several else result.dataset.name


def _sentence(evaluation: Evaluation, result: DatasetResult, found: Comparison) -> Markup:
    delta, measure = found.deltas[0], evaluation.measures[0]
    before = result.run(found.baseline).means[0].mean
    kind = {"better": "better", "worse": "worse"}.get(found.verdict, "same")
    return element(
        "p",
        f"On {result.dataset.name}, {found.run} takes {measure} from {before:.3f} to {before + delta.mean:.3f} (",
        element("strong", signed(delta.mean), class_=side(delta.mean)),
        f", 95 % interval {_ends(delta)}), Holm-corrected p = {_p(found.p_holm)}: ",
        element("strong", found.verdict, class_=kind),
        f". {found.wins:,} queries won, {found.ties:,} tied, {found.losses:,} lost.",
        class_="verdict",
    )


def _measures(evaluation: Evaluation) -> Markup:
    body = []
    for result in evaluation.results:
        for measured in result.runs:
            cells = [element("td", result.dataset.name), element("td", measured.run.name)]
            for mean in measured.means:
                cells.append(element("td", f"{mean.mean:.3f}", element("small", _ends(mean)), class_="number"))
            kind = "baseline" if measured.run.name == evaluation.baseline else ""
            body.append(element("tr", *cells, class_=kind))
    return _table(("dataset", "system"), evaluation.measures, body)


def _comparisons(evaluation: Evaluation) -> Markup:
    body = []
    for result, found in _compared(evaluation):
        delta = found.deltas[0]
        said = (f"{found.wins:,}", f"{found.ties:,}", f"{found.losses:,}", _p(found.p), _p(found.p_holm))
        cells = [element("td", result.dataset.name), element("td", found.run), _delta(delta)]
        cells += [element("td", value, class_="number") for value in said]
        cells.append(element("td", found.verdict, class_=found.verdict if " " not in found.verdict else ""))
        body.append(element("tr", *cells))
    heads = (f"Δ {evaluation.measures[0]}", "won", "tied", "lost", "p", "p (Holm)")
    return _table(("dataset", "system"), heads, body, ("verdict",))


def _deltas(evaluation: Evaluation) -> Markup:
    """Differences of the measures that are not tested."""
    body = []
    for result, found in _compared(evaluation):
        cells = [element("td", result.dataset.name), element("td", found.run)]
        body.append(element("tr", *cells, *map(_delta, found.deltas[1:])))
    return _table(("dataset", "system"), [f"Δ {name}" for name in evaluation.measures[1:]], body)


def _delta(found: Interval) -> Markup:
    ends = element("small", _ends(found, plus=True))
    return element("td", signed(found.mean, 3), ends, class_=f"number {side(found.mean)}")


def _table(left: Sequence[str], right: Sequence[str], body: Sequence[str], last: Sequence[str] = ()) -> Markup:
    """Heads over text stand left, those over figures right."""
    heads = [element("th", name) for name in left]
    heads += [element("th", name, class_="number") for name in right] + [element("th", name) for name in last]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *body))
    return element("div", table, class_="wide")


def _section(evaluation: Evaluation, result: DatasetResult, cases: int) -> Markup:
    dataset = result.dataset
    empty = len(result.query_ids) - len(dataset.candidates)
    about = f"{len(result.query_ids):,} judged queries. First stage: {dataset.first_stage or 'none'}. "
    if dataset.candidates:
        recall = dataset.candidate_recall
        about += f"{recall:.1%} of the relevant documents are among the candidates; no order can find more. "
    if empty and dataset.candidates:
        about += f"{empty:,} queries have no candidates and count 0. "
    parts = [element("h2", dataset.name), element("p", about)]
    for found in result.comparisons:
        parts.append(_comparison(evaluation, result, found, cases))
    if timed := [(m.run.name, m.run.latency) for m in result.runs if m.run.latency is not None]:
        parts += [element("h3", "Time"), _latency(timed)]
    return joined(*parts)


def _comparison(evaluation: Evaluation, result: DatasetResult, found: Comparison, cases: int) -> Markup:
    measure = evaluation.measures[0]
    before, after = result.run(found.baseline), result.run(found.run)
    deltas = after.values[:, 0] - before.values[:, 0]
    labels = [result.dataset.queries[query] or query for query in result.query_ids]
    drawn = [
        figure(
            "Each query, before and after",
            scatter(before.values[:, 0], after.values[:, 0], measure, (found.baseline, found.run)),
            "above the line: better; area: number of queries",
        ),
        figure("Gains and losses", delta_bars(deltas, labels, measure), "every query's difference"),
    ]
    if (scores := _reliability(result, after)) is not None:
        remark = "candidates of all queries, unjudged ones taken as irrelevant; on the line: scores are probabilities"
        drawn.append(figure("Reliability of scores", reliability_diagram([(found.run, scores)]), remark))
    worst, best = largest_changes(result, found.run, found.baseline, cases)
    return joined(
        element("h3", f"{found.run} against {found.baseline} ", legend()),
        element("div", *drawn, class_="charts"),
        *_cases("Worst queries", worst),
        *_cases("Best queries", best),
    )


def _reliability(result: DatasetResult, measured: MeasuredRun) -> Reliability | None:
    if measured.run.logits is None:
        return None
    pairs = labelled_pairs(measured.run.logits, result.dataset.qrels)
    return measure_reliability(Platt(1.0, 0.0).probabilities(pairs.logits), pairs.labels, pairs.query_ids, samples=500)


def _cases(title: str, cases: Sequence[QueryChange]) -> list[Markup]:
    """The first is open, so that one sees what the others hold."""
    return [element("h3", title), *(_case(case, place == 0) for place, case in enumerate(cases))] if cases else []


def _case(case: QueryChange, opened: bool) -> Markup:
    summary = element(
        "summary",
        case.query or case.query_id,
        element("span", f"{case.before:.3f} → {case.after:.3f} ", class_="values"),
        element("span", signed(case.delta, 3), class_=side(case.delta)),
    )
    first = [move for move in case.documents if move.after is not None and move.after <= _LISTED]
    items = []
    for move in first:
        remark = f"was {move.before}" if move.before else "was not ranked"
        mark = [element("span", f"relevant (grade {move.grade}) ", class_="mark")] if move.grade > 0 else []
        text = move.text if len(move.text) <= _TEXT else f"{move.text[:_TEXT]}…"
        said = element("span", f" {remark}", class_="soft")
        items.append(element("li", *mark, text or move.doc_id, said, class_="relevant" if mark else ""))
    listed = element("div", element("h4", "First five after"), element("ol", *items))
    moved = element("div", element("h4", "Ranks; relevant documents in green"), rank_moves(case))
    attributes = {"open": "open"} if opened else {}
    return element("details", summary, element("div", moved, listed, class_="case"), **attributes)


def _latency(timed: list[tuple[str, Latency]]) -> Markup:
    heads = ("system", "requests", "mean ms", "p50", "p95", "p99", "pairs/s", "truncated")
    rows = [element("tr", element("td", name), *_times(own)) for name, own in timed]
    remark = "one request at a time, while this was evaluated; dots at 50 % and 95 %"
    return joined(_table(heads[:1], heads[1:], rows), figure("Time of a request", latency_curves(timed), remark))


def _times(own: Latency) -> list[Markup]:
    values = [own.mean, *(own.quantile(share) for share in (0.5, 0.95, 0.99)), own.pairs_per_second]
    said = [f"{len(own.milliseconds):,}", *(f"{value:,.0f}" for value in values)]
    said.append(f"{own.truncated / max(1, own.pairs):.1%}")
    return [element("td", value, class_="number") for value in said]


def _notes(evaluation: Evaluation) -> Markup:
    tested = evaluation.measures[0]
    count = len(evaluation.comparisons)
    said = (
        f"Measures by ir_measures, means over all judged queries. nDCG: {GAIN}. Ties: trec_eval's rule, by document id "
        "descending, for runs; in the order of the first stage for models.",
        f"{tested} is tested by a paired permutation (sign-flip) test, two-sided, {SAMPLES:,} flips, corrected by "
        f"Holm over {count} {'comparison' if count == 1 else 'comparisons'}. A verdict needs p < 0.05. “No difference "
        "shown” does not mean that there is none: look at the interval.",
        f"Intervals are {LEVEL:.0%} percentile bootstraps over queries, {SAMPLES:,} samples, paired for differences "
        "and not corrected for several comparisons. All draws are seeded: the same input gives the same figures.",
        "Judged@10 is the share of the first ten that somebody judged. Where it falls, new documents came up that "
        "count as irrelevant because nobody looked at them.",
    )
    return joined(element("h2", "How to read this"), *(element("p", sentence) for sentence in said))


def _ends(interval: Interval, plus: bool = False) -> str:
    if plus:
        return f"{signed(interval.low, 3)} to {signed(interval.high, 3)}"
    return f"{interval.low:.3f} to {interval.high:.3f}".replace("-", "−")


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
