"""The steps, one after the other; each is taken once, and what waits for requests is looked at again next time."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from rerankd.errors import ConflictError, InvalidRequestError, ModelNotFoundError, NotFoundError
from rerankd.evaluation.dataset import Dataset, DatasetOptions, open_dataset
from rerankd.evaluation.gate import write_decision
from rerankd.evaluation.gate_runner import GateSets, OpenProgressBar, run_gate
from rerankd.improve.plan import STEPS, Done, Ledger, Plan
from rerankd.models.reference import CHAMPION
from rerankd.reranker import Reranker
from rerankd.settings import Settings
from rerankd.training.examples import Example, read_examples
from rerankd.training.finetune import fine_tune
from rerankd.wiring.registry import open_registry

if TYPE_CHECKING:
    from rerankd.experiments.experiment import Experiment
    from rerankd.experiments.store import ExperimentStore

Say = Callable[[str], None]
Progress = Callable[[float, Any], None]
COLLECTED = "cases.jsonl"


class Loop:
    """Takes an improvement as far as it goes now.

    Args:
        plan: what to do.
        settings: of the program: registry, traces, gate's key.
        say: told each sentence.
        bar: opens progress bars.
        progress: of training.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        say: Say = lambda sentence: None,
        bar: OpenProgressBar = lambda title: nullcontext(None),
        progress: Progress = lambda share, losses: None,
    ) -> None:
        if not plan.domain:
            raise InvalidRequestError("There is no domain set.", hint="Say with --domain where it has to gain.")
        self.plan, self._settings, self._say, self._bar, self._progress = plan, settings, say, bar, progress
        self.ledger = Ledger(plan)
        self._registry = open_registry(settings)

    def intentions(self) -> list[tuple[str, str, str]]:
        """Each step, its state and what it would do; nothing is done.

        Returns:
            Name, `done`, `waiting`, `refused` or `to do`, and a sentence.
        """
        plan, rows = self.plan, []
        base = self._base()
        told = {
            "collect": f"read {len(plan.data)} paths" + (" and labelled bad cases" if plan.cases else ""),
            "train": f"fine-tune {base} with {plan.training.method}, loss {plan.training.loss}",
            "gate": f"judge against {base} on {_names(plan.domain)}; no loss on {_names(plan.general) or 'nothing'}",
            "register": f"register as the challenger of {plan.name}",
            "shadow": f"compare {plan.shadow_requests} rankings of {plan.served} after their answers",
            "online": f"{plan.online} on {plan.served}",
            "promote": f"make it the champion of {plan.name}",
        }
        for step in STEPS:
            done = self.ledger.steps.get(step)
            if done is None and self._skipped(step):
                continue
            rows.append((step, done.state, done.says) if done else (step, "to do", told[step]))
        return rows

    def run(self) -> Done:
        """Take every step that can be taken now; the last one's outcome."""
        last = Done("done", "There is nothing to do.")
        for step in STEPS:
            known = self.ledger.steps.get(step)
            if self._skipped(step):
                continue
            if known is None or known.state == "waiting":
                self._say(f"{step} ...")
                known = getattr(self, f"_{step}")()
                self.ledger.write(step, known)
            self._say(f"{step}: {known.says}")
            last = known
            if known.state != "done":
                break
        return last

    def _skipped(self, step: str) -> bool:
        online = self.plan.online
        return (step == "shadow" and online == "none") or (step == "online" and online in ("none", "shadow"))

    def _base(self) -> str:
        if self.plan.base:
            return self.plan.base
        path = self._registry.store.path
        if path is not None and not path.is_file():
            return "mini"  # nothing was registered yet on this machine
        try:
            return f"registry:{self.plan.name}@{self._registry.resolve(self.plan.name, CHAMPION).version}"
        except (ModelNotFoundError, NotFoundError):
            return "mini"

    def _collect(self) -> Done:
        count, cases = 0, 0
        for path in self.plan.data:
            count += len(read_examples(path))
        if self.plan.cases:
            cases = self._cases()
        if not count and not cases:
            raise InvalidRequestError(
                "There is nothing to learn from.", hint="Pass --data, or label cases: rerankd cases label."
            )
        return Done("done", f"{count} examples and {cases} bad cases.", {"cases": cases})

    def _cases(self) -> int:
        """Write labelled cases of the traces beside the run."""
        from rerankd.feedback.case_export import training_lines
        from rerankd.feedback.case_store import CaseFilter, iter_cases, set_state
        from rerankd.wiring.traces import open_store, traces_url

        url = traces_url(self._settings)
        if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
            return 0
        store = open_store(self._settings)
        try:
            graded = [
                case
                for state in ("labelled", "in_training")
                for case in iter_cases(store, CaseFilter(None, state, None))
                if case.grades
            ]
            lines = list(training_lines(graded))
            if lines:
                self.plan.out.mkdir(parents=True, exist_ok=True)
                (self.plan.out / COLLECTED).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
                set_state(store, [case.id for case in graded], "in_training")
            return len(lines)
        finally:
            store.close()

    def _examples(self) -> list[Example]:
        paths = list(self.plan.data)
        if self.ledger.found("collect", "cases"):
            paths.append(self.plan.out / COLLECTED)
        return [example for path in paths for example in read_examples(path)]

    def _sets(self) -> GateSets:
        def opened(paths: tuple[Path, ...]) -> list[Dataset]:
            return [open_dataset(path, DatasetOptions(max_queries=self.plan.max_queries)) for path in paths]

        return GateSets(opened(self.plan.domain), opened(self.plan.general))

    def _train(self) -> Done:
        outcome = fine_tune(
            self._base(),
            self._examples(),
            self.plan.out / "training",
            self.plan.training,
            general=[example for path in self.plan.replay for example in read_examples(path)],
            evaluated=self._sets().all_datasets,
            name=self.plan.name,
            registry=self._settings.registry,
            say=self._say,
            progress=self._progress,
        )
        record = outcome.record
        said = f"{record['steps']} steps, {record['seconds']:.0f} s, {record['peak_memory_mb']:,} MB."
        return Done("done", said, {"model": str(outcome.model), "against": self._base()})

    def _gate(self) -> Done:
        model, against = self.ledger.found("train", "model"), self.ledger.found("train", "against")
        record = self.plan.out / "gate.json"
        options: dict[str, Any] = {"device": "cpu", "registry": self._settings.registry}
        decision, evaluation = run_gate(
            Reranker(model, **options),
            Reranker(against, **options),
            self._sets(),
            limits=self.plan.limits,
            key=self._settings.gate_key,
            bar=self._bar,
        )
        write_decision(record, decision)
        failed = [f"{check.name}: {check.says}" for check in decision.checks if not check.passed]
        gains = " ".join(check.says for check in decision.checks if check.name.startswith("gain"))
        metrics = {
            f"{result.dataset.name} nDCG@10": float(result.run("candidate").values[:, 0].mean())
            for result in evaluation.results
        }
        found = {"record": str(record), "metrics": metrics}
        if failed:
            return Done("refused", "; ".join(failed), found)
        return Done("done", f"passed: {gains}", found)

    def _register(self) -> Done:
        training = orjson.loads((self.plan.out / "training" / "train.json").read_bytes())
        version = self._registry.register(
            self.ledger.found("train", "model"),
            self.plan.name,
            metrics=self.ledger.found("gate", "metrics"),
            gate=Path(self.ledger.found("gate", "record")),
            data=[*self.plan.data, *self.plan.domain],
            tags={"training data": training["data"], "base": training["base"]},
            alias="challenger",
        )
        return Done("done", f"{version} is the challenger.", {"version": version.version})

    @property
    def _challenger(self) -> str:
        return f"registry:{self.plan.name}@{self.ledger.found('register', 'version')}"

    def _experiment(self, kind: str) -> tuple[Experiment, dict[str, int]]:
        """The run's experiment of a kind, started if it is not there yet, and what was counted."""
        from rerankd.experiments.experiment import Experiment, validate
        from rerankd.experiments.guardrails import STEPS as SHARES
        from rerankd.experiments.guardrails import ExperimentPlan
        from rerankd.wiring.experiments import open_experiments

        name = f"{self.plan.name}-{self.ledger.found('register', 'version')}-{kind}".lower()
        store: ExperimentStore = open_experiments(self._settings)
        try:
            try:
                known = store.named(name)
            except NotFoundError:
                plan = ExperimentPlan(SHARES if kind == "canary" else (1.0,), auto_promote=True)
                wanted = Experiment(name, kind, self.plan.served, self._challenger, plan=plan)  # type: ignore[arg-type]
                known = store.start(validate(wanted), _who())
            counts: dict[str, int] = {}
            for (_, arm, _), sums in store.sums(known).items():
                counts[arm] = max(counts.get(arm, 0), sums.count)
            return known, counts
        finally:
            store.close()

    def _shadow(self) -> Done:
        known, counts = self._experiment("shadow")
        seen = max(counts.values(), default=0)
        if known.state == "running" and seen < self.plan.shadow_requests:
            return Done("waiting", f"{known.name} compared {seen} of {self.plan.shadow_requests} rankings.")
        if known.state == "running":
            self._stop(known.name)
        return Done("done", f"{known.name} compared {seen} rankings: rerankd rollout status {known.name}.")

    def _online(self) -> Done:
        known, _ = self._experiment(self.plan.online)
        if known.state == "promoted":
            return Done("done", f"{known.name} is promoted.")
        if known.state == "running":
            return Done("waiting", f"{known.name} is at {known.coverage:.0%}: rerankd rollout status {known.name}.")
        return Done("refused", f"{known.name} is {known.state}: rerankd rollout history {known.name}.")

    def _stop(self, name: str) -> None:
        from rerankd.experiments.controller import apply
        from rerankd.experiments.guardrails import ExperimentDecision
        from rerankd.wiring.experiments import open_experiments

        store = open_experiments(self._settings)
        try:
            one = store.named(name)
            if one.state == "running" and not apply(store, one, ExperimentDecision("stop", "compared", {}), _who(), {}):
                raise ConflictError(f"{name} is being changed by others.", hint="Try again.")
        finally:
            store.close()

    def _promote(self) -> Done:
        move = self._registry.promote(self.plan.name, self.ledger.found("register", "version"), "rerankd improve")
        fixed = self._fixed() if self.ledger.found("collect", "cases") else 0
        said = f"version {move.after} is the champion of {self.plan.name}"
        return Done("done", f"{said}; {fixed} cases are fixed." if fixed else f"{said}.", {"version": move.after})

    def _fixed(self) -> int:
        """Cases that were trained on are fixed now."""
        from rerankd.feedback.case_store import CaseFilter, iter_cases, set_state
        from rerankd.wiring.traces import open_store

        store = open_store(self._settings)
        try:
            numbers = [case.id for case in iter_cases(store, CaseFilter(None, "in_training", None))]
            set_state(store, numbers, "fixed")
            return len(numbers)
        finally:
            store.close()


def restart(plan: Plan) -> None:
    """Forget a run; what it registered stays."""
    for name in ("improve.json", "gate.json", COLLECTED):
        (plan.out / name).unlink(missing_ok=True)
    shutil.rmtree(plan.out / "training", ignore_errors=True)


def _names(paths: tuple[Path, ...]) -> str:
    return ", ".join(path.name for path in paths)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
