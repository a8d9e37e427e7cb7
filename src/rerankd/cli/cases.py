"""`rerankd cases`: detect, show, label and export bad cases."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from rerankd._common.plural import counted
from rerankd.cli.options import Json, logits_of, open_reranker
from rerankd.cli.output import cell, movement, readable, say, stdout, wants_json, write_rows
from rerankd.cli.trace_options import Since, Tenant, Until, Url, moment, opened, trace_filter, when
from rerankd.errors import InvalidRequestError

if TYPE_CHECKING:
    from rerankd.feedback.cases import BadCase
    from rerankd.feedback.labels import Label

app = typer.Typer(help="Bad cases: detect, label and export rankings that went wrong.", no_args_is_help=True)

State = Literal["open", "labelled", "in_training", "fixed", "wont_fix"]
Detector = Annotated[
    Literal["chosen_low", "top_rejected", "demoted", "low_margin", "outlier", "disagreement", "manual", "labelled"]
    | None,
    typer.Option(help="Only cases of this detector."),
]
InState = Annotated[State | None, typer.Option("--state", help="Only cases in this state.")]
Number = Annotated[int, typer.Argument(metavar="CASE", help="Number of the case.")]
Note = Annotated[str, typer.Option(help="Note, stored with the case.")]


@app.command()
def detect(
    second: Annotated[
        str | None, typer.Option(help="Also rank recent traces with this model, and report where it disagrees.")
    ] = None,
    since: Since = "24h",
    until: Until = None,
    tenant: Tenant = None,
    low: Annotated[int, typer.Option(min=1, help="Rank below which a chosen document makes a case.")] = 3,
    margin: Annotated[
        float, typer.Option(min=0, help="Difference of first and second, in logits, below which the margin is low.")
    ] = 0.02,
    outlier: Annotated[
        float, typer.Option(min=0, help="Robust deviations of the top score that make an outlier.")
    ] = 5.0,
    agreement: Annotated[
        float, typer.Option(min=-1, max=1, help="Kendall's tau below which two models disagree.")
    ] = 0.3,
    limit: Annotated[int, typer.Option(min=1, help="Most new cases per detector that needs no feedback.")] = 20,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """Detect bad cases now; services do so every minute."""
    from rerankd.feedback.detection import DetectionLimits, detect_disagreement
    from rerankd.feedback.detection import detect as detected
    from rerankd.feedback.detectors import BY_HAND, DETECTORS, DISAGREEMENT, DetectorThresholds

    thresholds = DetectorThresholds(low, margin, outlier, agreement)
    traces = trace_filter(tenant, since, until, None)
    with opened(traces_url) as (store, settings):
        ran = [name for name in DETECTORS if name not in BY_HAND and (name != DISAGREEMENT or second is not None)]
        counts = dict.fromkeys(ran, 0) | detected(store, traces, thresholds, DetectionLimits(each=limit))
        if second is not None:
            score = logits_of(open_reranker(settings.model_copy(update={"model": second})))
            counts |= detect_disagreement(store, traces, second, score, thresholds, limit)
    if wants_json(as_json):
        write_rows([counts])
        return
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    say(f"{found} found; a ranking is one case, whatever was found in it." if found else "No new cases.")


@app.command("list")
def list_cases(
    state: InState = None,
    detector: Detector = None,
    tenant: Tenant = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Most cases to list.")] = 50,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """List cases, the most severe first."""
    from rerankd.feedback import case_store
    from rerankd.feedback.case_store import CaseFilter, count_cases

    with opened(traces_url) as (store, _):
        cases = case_store.list_cases(store, CaseFilter(tenant, state, detector, moment(since)), limit=limit)
        counts = count_cases(store)
    if wants_json(as_json):
        write_rows(asdict(case) for case in cases)
        return
    table = Table("case", "state", "detected", "by", "tenant", "request", "severity", "note", "query")
    for case in cases:
        table.add_row(
            *(
                str(case.id),
                case.state,
                when(case.time),
                detectors_of(case),
                cell(case.tenant),
                cell(case.request_id, 40),
            ),
            *(f"{case.severity:.2f}", cell(case.note, 60), cell(case.query or "(erased)", 50)),
        )
    stdout().print(table)
    say(", ".join(f"{count} {name}" for name, count in counts.items()))


@app.command()
def show(case: Number, traces_url: Url = None, as_json: Json = False) -> None:
    """Show a case: every candidate before and after, with the grade that counts and who gave which."""
    from rerankd.feedback.case_store import get_case
    from rerankd.feedback.label_store import read_labels

    with opened(traces_url) as (store, _):
        details = get_case(store, case)
        labels = read_labels(store, [case])[case]
    if wants_json(as_json):
        write_rows([asdict(details) | {"labels": [asdict(label) for label in labels]}])
        return
    summary = Table("", "", show_header=False)
    for name in ("id", "state", "request_id", "tenant", "model", "query"):
        summary.add_row(name, cell(readable(getattr(details, name))))
    for reason in details.reasons:
        summary.add_row(reason.detector, cell(reason.note))
    own_notes = [line for line in details.note.splitlines() if line not in {reason.note for reason in details.reasons}]
    for line in own_notes:
        summary.add_row("note", cell(line))
    stdout().print(summary)
    table = Table("document", "after", "before", "raw score", "grade", "labels", "id", "text")

    def labels_of(position: int) -> list[Label]:
        return [each for each in labels if each.position == position]

    for candidate in sorted(details.candidates, key=lambda candidate: candidate.rank_after):
        table.add_row(
            *(
                str(candidate.index),
                str(candidate.rank_after),
                movement(candidate.rank_before, candidate.rank_after),
                f"{candidate.raw_score:.3f}",
            ),
            *(
                "" if candidate.grade is None else str(candidate.grade),
                cell(", ".join(f"{each.labeller or 'unknown'} {each.grade}" for each in labels_of(candidate.index))),
                cell(candidate.id or ""),
                cell(candidate.text or "(erased)", 80),
            ),
        )
    stdout().print(table)


@app.command()
def flag(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Request id, or number of the trace.")],
    document: Annotated[int | None, typer.Option(min=0, help="Index of the wrongly ranked document, from 0.")] = None,
    note: Note = "",
    tenant: Tenant = None,
    traces_url: Url = None,
) -> None:
    """Flag a ranking as a bad case by hand."""
    from rerankd.feedback.case_store import case_of_ranking
    from rerankd.feedback.case_store import flag_request as flagged

    with opened(traces_url) as (store, _):
        is_new = flagged(store, request, tenant, document, note)
        full = store.find_trace(request, tenant)
        case = case_of_ranking(store, full.trace) if full else None
    number = "" if case is None else f" {case.id}"
    if is_new:
        say(f"Case{number} added. Next: rerankd cases label{number} --relevant ...")
    else:
        say("It is a case already.")


@app.command()
def label(
    case: Number,
    relevant: Annotated[str, typer.Option(help="Relevant documents, as 3,7 or with grades as 3=2,7=1.")] = "",
    irrelevant: Annotated[str, typer.Option(help="Irrelevant documents, as 0,1.")] = "",
    labeller: Annotated[
        str | None, typer.Option(help="Who gives the grades; the name of the system's user by default.")
    ] = None,
    traces_url: Url = None,
) -> None:
    """Label documents as relevant or irrelevant; an open case becomes labelled."""
    from rerankd.feedback.case_update import update_case

    grades = _grades(irrelevant, 0) | _grades(relevant, 1)
    if not grades:
        raise InvalidRequestError("No document is labelled.", hint="Use --relevant, --irrelevant, or both.")
    with opened(traces_url) as (store, _):
        updated = update_case(store, case, grades=grades, labeller=_user() if labeller is None else labeller)
    say(f"Case {case} is {updated.state}: {counted(len(updated.grades), 'document has', 'documents have')} a grade.")


@app.command("state")
def set_state(
    case: Number,
    state: Annotated[State, typer.Argument(help="New state.")],
    note: Note = "",
    traces_url: Url = None,
) -> None:
    """Set the state of a case."""
    from rerankd.feedback.case_update import update_case

    with opened(traces_url) as (store, _):
        updated = update_case(store, case, state=state, note=note)
    say(f"Case {case} is {updated.state}.")


@app.command()
def export(
    beir: Annotated[Path | None, typer.Option(help="Folder for a BEIR collection, for evaluation.")] = None,
    training: Annotated[
        Path | None,
        typer.Option(help="File for training data in FlagEmbedding's format: query, pos, neg, scores, time."),
    ] = None,
    state: InState = "labelled",
    detector: Detector = None,
    tenant: Tenant = None,
    mark: Annotated[bool, typer.Option(help="Set their state to in_training.")] = False,
    traces_url: Url = None,
) -> None:
    """Export labelled cases as evaluation and training data."""
    from rerankd.feedback.case_export import graded_cases, request_times, training_lines, write_beir
    from rerankd.feedback.case_store import CaseFilter
    from rerankd.feedback.case_update import set_state
    from rerankd.traces.hashing import text_hash

    if beir is None and training is None:
        raise InvalidRequestError("There is nowhere to export to.", hint="Use --beir FOLDER, --training FILE, or both.")
    with opened(traces_url) as (store, _):
        graded = graded_cases(store, CaseFilter(tenant, state, detector))
        times = request_times(store, graded)
        if beir is not None:
            count = write_beir(graded, beir, lambda text: text_hash(text)[:24], times)
            say(
                f"{counted(count, 'query', 'queries')} in {beir}; "
                f"rerankd eval --data {beir} --candidates {beir}/candidates.trec"
            )
        if training is not None:
            with training.open("w", encoding="utf-8") as out:
                count = write_rows(training_lines(graded, times), out)
            say(f"{counted(count, 'line')} in {training}.")
        if mark:
            set_state(store, [case.id for case in graded], "in_training")


def detectors_of(case: BadCase) -> str:
    """Return the names of the detectors that found a case, separated by commas."""
    return ", ".join(dict.fromkeys(reason.detector for reason in case.reasons))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return "command line"


def _grades(text: str, default: int) -> dict[int, int]:
    grades: dict[int, int] = {}
    for part in filter(None, (item.strip() for item in text.split(","))):
        index, _, grade = part.partition("=")
        try:
            grades[int(index)] = int(grade) if grade else default
        except ValueError:
            raise InvalidRequestError(f"{part!r} is not a document.", hint="Write 3,7 or 3=2,7=1.") from None
    return grades
