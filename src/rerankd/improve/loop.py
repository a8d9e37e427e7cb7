"""The closed loop: collect, train, gate, register, try on requests, promote. Each step is taken once.

A step that waits for requests is checked again in the next run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import orjson

from rerankd._common.plural import counted
from rerankd._common.user import current_user
from rerankd.errors import InvalidRequestError, ModelNotFoundError, NotFoundError
from rerankd.evaluation.dataset import Dataset, DatasetOptions, open_dataset
from rerankd.evaluation.gate_record import write_decision
from rerankd.evaluation.gate_runner import GateSets, OpenProgressBar, run_gate
from rerankd.experiments.store import ExperimentStore
from rerankd.improve.cases import export_cases, mark_fixed_cases
from rerankd.improve.options import ImproveOptions
from rerankd.improve.resources import Resources
from rerankd.improve.state import FILE_NAME, STEPS, RunState, StepResult
from rerankd.improve.trial import TrialKind, count_requests, ensure_experiment, stop_experiment
from rerankd.models.reference import CHAMPION
from rerankd.reranker import Reranker
from rerankd.training.examples import Example, read_examples
from rerankd.training.finetune import fine_tune

Say = Callable[[str], None]
TrainProgress = Callable[[float, Any], None]
CASES_FILE, GATE_FILE, TRAINING_FOLDER = "cases.jsonl", "gate.json", "training"


class Loop:
    """An improvement run, taken as far as it goes now.

    Args:
        options: data, models and limits.
        resources: stores that the run reads and writes.
        say: receives each message.
        bar: opens progress bars.
        progress: receives the progress of training.

    Raises:
        InvalidRequestError: no domain set, or the folder holds a run with other options.
        InvalidInputFileError: the state of the run is damaged.
    """

    def __init__(
        self,
        options: ImproveOptions,
        resources: Resources,
        say: Say = lambda sentence: None,
        bar: OpenProgressBar = lambda title: nullcontext(None),
        progress: TrainProgress = lambda share, losses: None,
    ) -> None:
        if not options.domain:
            raise InvalidRequestError("No domain set is given.", hint="Name one with --domain.")
        self.options, self._resources = options, resources
        self._say, self._bar, self._progress = say, bar, progress
        self._registry = resources.registry
        self.state = RunState(options)

    def plan(self) -> list[tuple[str, str, str]]:
        """Return each step with its state and a sentence; takes no step.

        Returns:
            Name of the step; `done`, `waiting`, `refused` or `to do`; the result's message, or what the step would do.
        """
        options, base = self.options, self._base()
        general = _names(options.general) or "nothing"
        intents = {
            "collect": f"read {counted(len(options.data), 'path')}"
            + (" and labelled bad cases" if options.cases else ""),
            "train": f"fine-tune {base} with {options.training.method}, loss {options.training.loss}",
            "gate": f"compare with {base} on {_names(options.domain)}; no loss on {general}",
            "register": f"register as the challenger of {options.name}",
            "shadow": f"compare {options.shadow_requests} rankings of {options.served} after their answers",
            "online": f"{options.online} on {options.served}",
            "promote": f"make it the champion of {options.name}",
        }
        rows: list[tuple[str, str, str]] = []
        for step in STEPS:
            result = self.state.steps.get(step)
            if result is not None:
                rows.append((step, result.state, result.message))
            elif not self._is_skipped(step):
                rows.append((step, "to do", intents[step]))
        return rows

    def run(self) -> StepResult:
        """Take every step that can be taken now, and return the last result."""
        last = StepResult("done", "There is nothing to do.")
        for step in STEPS:
            result = self.state.steps.get(step)
            if self._is_skipped(step):
                continue
            if result is None or result.state == "waiting":
                self._say(f"{step} ...")
                result = getattr(self, f"_{step}")()
                self.state.write(step, result)
            self._say(f"{step}: {result.message}")
            last = result
            if result.state != "done":
                break
        return last

    def _is_skipped(self, step: str) -> bool:
        online = self.options.online
        return (step == "shadow" and online == "none") or (step == "online" and online in ("none", "shadow"))

    def _base(self) -> str:
        if self.options.base:
            return self.options.base
        path = self._registry.store.path
        if path is not None and not path.is_file():
            return "mini"  # nothing was registered yet on this machine
        try:
            return f"registry:{self.options.name}@{self._registry.resolve(self.options.name, CHAMPION).version}"
        except (ModelNotFoundError, NotFoundError):
            return "mini"

    def _collect(self) -> StepResult:
        examples = sum(len(read_examples(path)) for path in self.options.data)
        case_ids = self._export_cases() if self.options.cases else []
        if not examples and not case_ids:
            raise InvalidRequestError(
                "There are no training examples.", hint="Pass --data, or label cases: rerankd cases label."
            )
        outputs = {"cases": len(case_ids), "case_ids": case_ids}
        return StepResult("done", f"{counted(examples, 'example')} and {counted(len(case_ids), 'bad case')}.", outputs)

    def _export_cases(self) -> list[int]:
        store = self._resources.open_traces()
        if store is None:
            return []
        with closing(store):
            return export_cases(store, self.options.out / CASES_FILE)

    def _examples(self) -> list[Example]:
        paths = list(self.options.data)
        if self.state.output("collect", "cases"):
            paths.append(self.options.out / CASES_FILE)
        return [example for path in paths for example in read_examples(path)]

    def _sets(self) -> GateSets:
        def open_sets(paths: Sequence[Path]) -> list[Dataset]:
            return [open_dataset(path, DatasetOptions(max_queries=self.options.max_queries)) for path in paths]

        return GateSets(open_sets(self.options.domain), open_sets(self.options.general))

    def _train(self) -> StepResult:
        base = self._base()
        result = fine_tune(
            base,
            self._examples(),
            self.options.out / TRAINING_FOLDER,
            self.options.training,
            general=[example for path in self.options.replay for example in read_examples(path)],
            evaluation_sets=self._sets().all_datasets,
            name=self.options.name,
            registry=self._registry.store.uri,
            report=self._say,
            progress=self._progress,
        )
        record = result.record
        message = f"{record['steps']} steps, {record['seconds']:.0f} s, {record['peak_memory_mb']:,} MB."
        return StepResult("done", message, {"model": str(result.model), "against": base})

    def _gate(self) -> StepResult:
        path = self.options.out / GATE_FILE
        decision, evaluation = run_gate(
            self._reranker(self.state.output("train", "model")),
            self._reranker(self.state.output("train", "against")),
            self._sets(),
            limits=self.options.limits,
            key=self._resources.gate_key,
            bar=self._bar,
        )
        write_decision(path, decision)
        failed = [f"{check.name}: {check.message}" for check in decision.checks if not check.passed]
        gains = " ".join(check.message for check in decision.checks if check.name.startswith("gain"))
        metrics = {
            f"{result.dataset.name} nDCG@10": float(result.run("candidate").values[:, 0].mean())
            for result in evaluation.results
        }
        outputs = {"record": str(path), "metrics": metrics}
        if failed:
            return StepResult("refused", "; ".join(failed), outputs)
        return StepResult("done", f"passed: {gains}", outputs)

    def _reranker(self, reference: str) -> Reranker:
        return Reranker(reference, device="cpu", registry=self._registry.store.uri)

    def _register(self) -> StepResult:
        training = orjson.loads((self.options.out / TRAINING_FOLDER / "train.json").read_bytes())
        version = self._registry.register(
            self.state.output("train", "model"),
            self.options.name,
            metrics=self.state.output("gate", "metrics"),
            gate=Path(self.state.output("gate", "record")),
            data=[*self.options.data, *self.options.domain],
            tags={"training data": training["data"], "base": training["base"]},
            alias="challenger",
        )
        return StepResult("done", f"{version} is the challenger.", {"version": version.version})

    def _shadow(self) -> StepResult:
        with self._trial("shadow") as (store, experiment):
            compared = count_requests(store, experiment)
            if experiment.state == "running" and compared < self.options.shadow_requests:
                message = f"{experiment.name} compared {compared} of {self.options.shadow_requests} rankings."
                return StepResult("waiting", message)
            stop_experiment(store, experiment.name, current_user())
        status = f"rerankd rollout status {experiment.name}"
        return StepResult("done", f"{experiment.name} compared {counted(compared, 'ranking')}: {status}.")

    def _online(self) -> StepResult:
        kind = self.options.online
        if kind == "none" or kind == "shadow":
            raise InvalidRequestError("This run has no online trial.", hint="Use --rollout canary or interleave.")
        with self._trial(kind) as (_, experiment):
            name, state = experiment.name, experiment.state
        if state == "promoted":
            return StepResult("done", f"{name} is promoted.")
        if state == "running":
            return StepResult("waiting", f"{name} is at {experiment.coverage:.0%}: rerankd rollout status {name}.")
        return StepResult("refused", f"{name} is {state}: rerankd rollout history {name}.")

    @contextmanager
    def _trial(self, kind: TrialKind) -> Iterator[tuple[ExperimentStore, Any]]:
        """Open the run's experiment of a kind, started if it is not there yet."""
        options, version = self.options, self.state.output("register", "version")
        with closing(self._resources.open_experiments()) as store:
            yield (
                store,
                ensure_experiment(
                    store,
                    name=f"{options.name}-{version}-{kind}".lower(),
                    kind=kind,
                    model=options.served,
                    challenger=f"registry:{options.name}@{version}",
                    user=current_user(),
                ),
            )

    def _promote(self) -> StepResult:
        name, version = self.options.name, self.state.output("register", "version")
        move = self._registry.promote(name, version, "rerankd improve")
        message, fixed = f"version {move.after} is the champion of {name}", self._mark_fixed_cases(version)
        if fixed is not None:
            message += f"; {fixed[0]} of {fixed[1]} bad cases are now ranked correctly and were marked as fixed"
        return StepResult("done", f"{message}.", {"version": move.after})

    def _mark_fixed_cases(self, version: int) -> tuple[int, int] | None:
        """Return the counts of fixed and exported cases; None if the run was trained on no case that is known by id."""
        case_ids = self.state.steps["collect"].outputs.get("case_ids", [])
        store = self._resources.open_traces() if case_ids else None
        if store is None:
            return None
        reranker = self._reranker(f"registry:{self.options.name}@{version}")

        def score(query: str, texts: Sequence[str]) -> list[float]:
            return [float(value) for value in reranker.score([(query, text) for text in texts])]

        with closing(store):
            return len(mark_fixed_cases(store, case_ids, score)), len(case_ids)


def restart(options: ImproveOptions) -> None:
    """Delete the state of a run; models that it registered stay."""
    for name in (FILE_NAME, GATE_FILE, CASES_FILE):
        (options.out / name).unlink(missing_ok=True)
    shutil.rmtree(options.out / TRAINING_FOLDER, ignore_errors=True)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)
