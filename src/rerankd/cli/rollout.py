"""`rerankd rollout`: start, inspect, advance and stop experiments of all services that share a trace database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rerankd._common.user import current_user
from rerankd.cli.options import Json
from rerankd.cli.output import cell, json_row, say, stdout, wants_json, write_rows
from rerankd.cli.rollout_status import describe, experiment_row, print_means, registry_status, state_sentence
from rerankd.cli.trace_options import Url, when
from rerankd.errors import ConflictError, InvalidRequestError, ModelError
from rerankd.settings import Settings, load_settings

if TYPE_CHECKING:
    from rerankd.experiments.experiment import Experiment
    from rerankd.experiments.guardrails import ExperimentDecision, Guardrail
    from rerankd.experiments.store import ExperimentStore
    from rerankd.models.files import ModelFiles

app = typer.Typer(help="A/B tests and canary releases: try a model on a share of the requests.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the experiment.")]
Kind = Literal["shadow", "interleave", "split", "canary"]
ATTEMPTS = 5


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
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """Start an experiment; every service that shares the database joins within rollout_seconds."""
    from rerankd.experiments.experiment import Experiment, validate
    from rerankd.experiments.guardrails import STEPS, ExperimentPlan
    from rerankd.models.reference import BUNDLED

    default_steps = STEPS if kind in ("canary", "split") else (1.0,)
    plan = ExperimentPlan(
        _steps(steps) if steps else default_steps,
        _guardrails(margin or ()),
        alpha,
        min_requests,
        min_seconds,
        proven_from / 100,
        objective_ms,
        kind == "canary" if auto_promote is None else auto_promote,
        patience,
        min_feedback,
    )
    with opened(traces_url) as (store, settings):
        served = model or _default_name(settings)
        if Path(challenger).is_dir() and challenger not in BUNDLED:  # services may run in another folder
            challenger = str(Path(challenger).resolve())
        experiment = validate(Experiment(name, kind, served, challenger, unit, seed[:100], plan=plan))
        if check:
            from rerankd.models.files import load_model

            files = load_model(challenger, cache_dir=settings.cache_dir, registry=settings.registry)
            _check_different(files, served, settings)
            experiment = replace(experiment, challenger=_pinned(challenger, settings))
        started = store.start(experiment, current_user())
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
    with opened(traces_url) as (store, _):
        experiments = store.recent() if name is None else [store.get(name)]
        rows = [experiment_row(store, experiment, with_feedback=name is not None) for experiment in experiments]
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
def advance(name: Name, traces_url: Url = None) -> None:
    """Advance one step now; after the last step, promote the challenger."""
    from rerankd.experiments.guardrails import ExperimentDecision

    with opened(traces_url) as (store, _):
        advanced = _by_hand(store, name, ExperimentDecision("advance", "by hand", {}), ("running",))
    say(state_sentence(advanced))


@app.command()
def stop(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the experiment.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All running and promoted experiments.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the registry's champion as it is.")] = False,
    traces_url: Url = None,
) -> None:
    """Return all traffic to the champion; this also reverts a promotion, in the registry too."""
    from rerankd.experiments.guardrails import ExperimentDecision

    if (name is None) != every:
        raise InvalidRequestError("No experiment is named.", hint="Use NAME, or --all.")
    if keep and every:
        raise InvalidRequestError("--keep works for one experiment.", hint="Use NAME with --keep.")
    with opened(traces_url) as (store, _):
        names = [name] if name is not None else [experiment.name for experiment in store.active()]
        for experiment_name in names:
            experiment = store.get(experiment_name)
            if keep:
                _check_moved(store, experiment)
            is_rollback = experiment.state == "promoted" and not keep
            action: Literal["roll_back", "stop"] = "roll_back" if is_rollback else "stop"
            stopped = _by_hand(
                store, experiment_name, ExperimentDecision(action, "by hand", {}), ("running", "promoted")
            )
            say(state_sentence(stopped))
    if not names:
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


def _by_hand(store: ExperimentStore, name: str, decision: ExperimentDecision, states: Sequence[str]) -> Experiment:
    """Apply a manual decision; retried if a service changed the experiment at the same time."""
    from rerankd.experiments.controller import apply_decision

    for _ in range(ATTEMPTS):
        experiment = store.get(name)
        if experiment.state not in states:
            if decision.action in ("stop", "roll_back"):
                return experiment  # it is as it should be
            raise ConflictError(f"{name} is {experiment.state}.", hint="See: rerankd rollout status.")
        if experiment.kind == "shadow" and decision.action == "advance":
            raise ConflictError(
                f"{name} is shadow traffic, which has no steps.", hint="Start a canary of the same challenger."
            )
        if apply_decision(
            store, experiment, decision, current_user(), {"coverage_before": experiment.coverage}, by_hand=True
        ):
            return store.get(name)
    raise ConflictError(f"{name} is being changed by others at the same time.", hint="Try again.")


def _check_different(challenger: ModelFiles, served: str, settings: Settings) -> None:
    """Refuse a challenger with the champion's files, which can be neither better nor worse.

    A champion that is not on this machine is not downloaded for the comparison.
    """
    from rerankd.models.digest import content_digest
    from rerankd.models.files import load_model
    from rerankd.models.reference import parse_reference

    default = settings.model if served == _default_name(settings) else served
    with suppress(ModelError):  # services may know the champion by a name that settings here do not have
        champion = parse_reference(settings.models.get(served, default))
        if champion.kind not in ("bundled", "folder"):
            return
        if content_digest(load_model(str(champion))) == content_digest(challenger):
            raise InvalidRequestError(
                f"{challenger.reference} has the same files as {served}, the champion.",
                hint="Name another challenger, or use --no-check for an A/A test.",
            )


def _check_moved(store: ExperimentStore, experiment: Experiment) -> None:
    status = registry_status(store, experiment)
    if experiment.state != "promoted" or status.get("phase") != "moved":
        reason = f" {status['reason']}." if status else ""
        raise ConflictError(
            f"The registry's champion is not the challenger of {experiment.name}.{reason}",
            hint="See: rerankd rollout history. Without --keep the previous champion answers again.",
        )


def _pinned(challenger: str, settings: Settings) -> str:
    """Resolve a registry alias to its current version, which stays fixed for the experiment."""
    from rerankd.models.reference import REGISTRY, parse_reference

    reference = parse_reference(challenger)
    if reference.alias is None:
        return challenger
    from rerankd.wiring.registry import open_registry

    return f"{REGISTRY}{reference.name}@{open_registry(settings).resolve(reference.name, reference.alias).version}"


def _steps(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        raise InvalidRequestError(
            f"{text[:100]!r} is not a list of steps.", hint="Write percentages, such as 1,10,100."
        ) from None


def _guardrails(margins: Sequence[str]) -> tuple[Guardrail, ...]:
    from rerankd.experiments.guardrails import DEFAULT_GUARDRAILS

    rails = {rail.name: rail for rail in DEFAULT_GUARDRAILS}
    for text in margins:
        name, _, value = text.partition("=")
        try:
            rails[name] = replace(rails[name], margin=float(value))
        except (KeyError, ValueError):
            raise InvalidRequestError(
                f"{text[:100]!r} is not a margin.", hint=f"Write NAME=NUMBER with one of: {', '.join(rails)}."
            ) from None
    return tuple(rails.values())


def _default_name(settings: Settings) -> str:
    """Return the name under which services with these settings serve their default model."""
    if settings.model in settings.models or settings.model == "mini" or not Path(settings.model).is_dir():
        return settings.model
    return Path(settings.model).name
