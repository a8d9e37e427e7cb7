"""`rerankd rollout`: start, inspect, advance and stop experiments of all services that share a trace database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rerankd._common.user import current_user
from rerankd.cli.options import Json
from rerankd.cli.output import cell, json_row, say, stdout, wants_json, write_rows
from rerankd.cli.rollout_status import print_means
from rerankd.cli.trace_options import Url, when
from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings, load_settings

if TYPE_CHECKING:
    from rerankd.experiments.store import ExperimentStore

app = typer.Typer(help="A/B tests and canary releases: try a model on a share of the requests.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the experiment.")]
Reason = Annotated[str, typer.Option(help="Reason, for the history.")]
Kind = Literal["shadow", "interleave", "split", "canary"]


@app.command()
def start(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new experiment.")],
    challenger: Annotated[str, typer.Option(help="Challenger: any model reference, such as registry:NAME@challenger.")],
    kind: Annotated[Kind, typer.Option(help="shadow traffic, interleaving, A/B split, or canary.")] = "canary",
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model name that requests use.")] = None,
    unit: Annotated[Literal["user", "tenant", "session"], typer.Option(help="Unit of sticky assignment.")] = "user",
    steps: Annotated[str | None, typer.Option(help="Coverage in percent, step by step, such as 1,10,100.")] = None,
    min_requests: Annotated[int, typer.Option(min=1, help="Challenger requests needed before the next step.")] = 200,
    min_seconds: Annotated[float, typer.Option(min=0, help="Shortest time of a step in seconds.")] = 600.0,
    alpha: Annotated[float, typer.Option(help="False alarm probability over the whole experiment.")] = 0.05,
    margin: Annotated[
        list[str] | None, typer.Option(help="Guardrail margin as NAME=VALUE, such as errors=0.02; repeatable.")
    ] = None,
    proven_from: Annotated[
        float, typer.Option(min=0, help="Coverage in percent from which a step needs a significant result.")
    ] = 10.0,
    objective_ms: Annotated[
        float, typer.Option(min=0, help="Latency above which a request is slow; 0 for the champion's p95.")
    ] = 0.0,
    min_feedback: Annotated[int, typer.Option(min=0, help="Rankings with feedback needed from that coverage on.")] = 0,
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for the challenger before the champion answers.")
    ] = 30.0,
    auto_promote: Annotated[
        bool | None, typer.Option(help="Promote automatically after the last step.  [default: only a canary]")
    ] = None,
    seed: Annotated[str, typer.Option(help="Seed of the assignment; random if empty.")] = "",
    check: Annotated[bool, typer.Option(help="Check that the challenger can be loaded from here.")] = True,
    reason: Reason = "",
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """Start an experiment; every service that shares the database joins within rollout_seconds."""
    from rerankd.experiments.experiment import Experiment
    from rerankd.experiments.guardrails import with_margins
    from rerankd.experiments.plans import default_plan, parse_steps
    from rerankd.experiments.status import describe, state_sentence
    from rerankd.wiring.experiments import default_model_name, prepare_experiment

    default = default_plan(kind)
    plan = replace(
        default,
        steps=parse_steps(steps) if steps else default.steps,
        guardrails=with_margins(_margins(margin or ())),
        alpha=alpha,
        min_requests=min_requests,
        min_seconds=min_seconds,
        proven_from=proven_from / 100,
        objective_ms=objective_ms,
        auto_promote=default.auto_promote if auto_promote is None else auto_promote,
        patience=patience,
        min_feedback=min_feedback,
    )
    with opened(traces_url) as (store, settings):
        served = model or default_model_name(settings)
        experiment = Experiment(name, kind, served, challenger, unit, seed[:100], plan=plan)
        started = store.start(prepare_experiment(settings, experiment, check=check), current_user(), reason)
    if wants_json(as_json):
        write_rows([describe(started)])
        return
    say(state_sentence(started))


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this experiment.")] = None,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """Show experiments: current step, counts, and what would be decided now."""
    from rerankd.experiments.feedback_metrics import FeedbackAggregator
    from rerankd.experiments.status import experiment_row

    with opened(traces_url) as (store, _):
        experiments = store.recent() if name is None else [store.get(name)]
        rows = [
            experiment_row(store, experiment, None if name is None else FeedbackAggregator(experiment))
            for experiment in experiments
        ]
    if wants_json(as_json):
        from rerankd.experiments.history import finite

        write_rows(finite(row) for row in rows)
        return
    names = ("name", "kind", "model", "challenger", "state", "coverage", "champion", "challenger's", "decision")
    table = Table(*(Column(name, overflow="fold") for name in names))
    for row in rows:
        counts = row["requests"]
        table.add_row(
            *(cell(str(row[key]), 60) for key in ("name", "kind", "model", "challenger", "state")),
            *(f"{row['coverage']:.1%}", str(counts["champion"]), str(counts["challenger"]), cell(row["reason"], 120)),
        )
    stdout().print(table)
    if name is not None and rows[0]["means"]:
        print_means(rows[0])


@app.command()
def advance(name: Name, reason: Reason = "", traces_url: Url = None) -> None:
    """Advance one step now; after the last step, promote the challenger."""
    from rerankd.experiments import decisions
    from rerankd.experiments.status import state_sentence

    with opened(traces_url) as (store, _):
        say(state_sentence(decisions.advance(store, name, current_user(), reason)))


@app.command()
def stop(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the experiment.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All running and promoted experiments.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the registry's champion as it is.")] = False,
    reason: Reason = "",
    traces_url: Url = None,
) -> None:
    """Return all traffic to the champion; this also reverts a promotion, in the registry too."""
    from rerankd.experiments import decisions
    from rerankd.experiments.status import state_sentence

    if (name is None) != every:
        raise InvalidRequestError("No experiment is named.", hint="Use NAME, or --all.")
    if keep and every:
        raise InvalidRequestError("--keep works for one experiment.", hint="Use NAME with --keep.")
    with opened(traces_url) as (store, _):
        if name is not None:
            stopped = [decisions.stop(store, name, current_user(), reason, keep=keep)]
        else:
            stopped = decisions.stop_all(store, current_user(), reason)
    for experiment in stopped:
        say(state_sentence(experiment))
    if not stopped:
        say("No experiment is running.")


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this experiment.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most events to list.")] = 50,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """List decisions, newest first, with the evidence."""
    with opened(traces_url) as (store, _):
        events = store.events(name, limit)
    if wants_json(as_json):
        write_rows(json_row(event, {"author": "who"}) for event in events)
        return
    table = Table("time", "experiment", "action", "coverage", "who", "reason")
    for event in events:
        names = (cell(event.experiment), event.action, f"{event.coverage:.1%}", cell(event.author, 40))
        table.add_row(when(event.time), *names, cell(event.reason, 200))
    stdout().print(table)


@contextmanager
def opened(url: str | None) -> Iterator[tuple[ExperimentStore, Settings]]:
    """Open the experiments of the trace database; yield their store and the settings."""
    from rerankd.wiring.experiments import open_experiments

    settings = load_settings(traces_url=url)
    store = open_experiments(settings)
    try:
        yield store, settings
    finally:
        store.close()


def _margins(margins: Sequence[str]) -> Mapping[str, float]:
    values: dict[str, float] = {}
    for text in margins:
        name, _, value = text.partition("=")
        try:
            values[name] = float(value)
        except ValueError:
            raise InvalidRequestError(
                f"{text[:100]!r} is not a margin.", hint="Write NAME=NUMBER, such as errors=0.02."
            ) from None
    return values
