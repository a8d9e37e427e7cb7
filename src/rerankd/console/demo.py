"""A store full of data in one command: a shop's handbook, ranked by three versions of the bundled model for two weeks.

Every score is the model's own: each question is ranked once by each version, and visits vary it in time, tenant and
feedback. What people did is drawn from a fixed seed. Everything goes through the functions that a service writes with.

demo_models       versions of the bundled model, and the rankings of each
demo_dataset      the questions with their answers, to evaluate on
demo_evaluation   two versions on these questions
demo_visits       visits of customers, and what they clicked
demo_experiments  a canary that was promoted, and one that is running
"""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from rerankd.console.demo_dataset import write_dataset
from rerankd.console.demo_evaluation import add_evaluation
from rerankd.console.demo_experiments import run_finished_canary, start_running_canary
from rerankd.console.demo_models import MODEL, DemoModel, rank_questions, write_model
from rerankd.console.demo_visits import DAY, TENANTS, Visits, always
from rerankd.demo.shop import HANDBOOK, RULES
from rerankd.errors import MissingDependencyError
from rerankd.feedback import (
    CaseFilter,
    DetectionLimits,
    DetectorThresholds,
    detect,
    detect_disagreement,
    flag_request,
    list_cases,
    update_case,
)
from rerankd.models.files import load_model
from rerankd.rules.rule_file import read_rules
from rerankd.rules.rule_set import RuleSet
from rerankd.traces.store import TraceFilter, TraceStore

FIRST, TRIED = "mini-64", "mini-128"
MODELS = {FIRST: 64, MODEL: 256, TRIED: 128}
"""Tokens that each version reads of a pair: the first one, the one that is served now, and one that is tried."""
INDEX = "index"
SEED = 23
DAYS = 14.0
RANKINGS = 620
CASES = DetectionLimits(each=6)
CLOSE = DetectorThresholds(agreement=0.65)  # versions of one model agree on more than two models do
REPLAYED = 40


def seed_demo(folder: Path, threads: int = 0, say: Callable[[str], None] = lambda text: None) -> dict[str, object]:
    """Fill a folder with a demo store, and return the settings that show it.

    Args:
        folder: an empty folder for the database, the models and the index.
        threads: CPU threads; 0 for one per core.
        say: is told what is done next.

    Returns:
        Values of the settings that name the store, the models, the rules and the index, by name.

    Raises:
        ModelError: the bundled model cannot be loaded.
    """
    rules, rules_file = _rules(folder, say)
    say("Ranking the questions with three versions of the model ...")
    models = {name: write_model(folder / "models" / name, name, length) for name, length in MODELS.items()}
    ranked = {
        name: rank_questions(path, rules, threads, every=4 if name == TRIED else 1) for name, path in models.items()
    }
    say("Writing two weeks of rankings, feedback, cases and experiments ...")
    url = f"sqlite:///{(folder / 'traces.sqlite').resolve()}"
    store = TraceStore(url)
    try:
        fill_store(store, ranked, rules)
        dataset = write_dataset(folder / "datasets", ranked[MODEL].questions)
        if add_evaluation(store, dataset, {MODEL: ranked[MODEL], FIRST: ranked[FIRST]}) is None:
            say("Without a finished evaluation, which needs: pip install 'rerankd[eval]'")
    finally:
        store.close()
    _build_index(folder, say)
    return {
        "model": MODEL,
        "models": {name: str(path) for name, path in models.items()},
        "max_length": None,
        "rules": rules_file,
        "traces": True,
        "traces_url": url,
        "retriever": "lance",
        "index": str(folder / INDEX),
        "embedding_model": None,
        "embedding_url": None,
        "monitor_window": DAY,
        "evaluation_folders": [str(folder / "datasets")],
    }


def fill_store(store: TraceStore, ranked: dict[str, DemoModel], rules: RuleSet, now: float = 0.0) -> None:
    """Write the rankings, feedback, bad cases and experiments of two weeks.

    Args:
        store: an empty store.
        ranked: rankings of each version.
        rules: rules of the demo.
        now: end of the two weeks, in seconds since 1970; 0 for the current time.
    """
    now = now or time.time()
    start = now - DAYS * DAY
    visits = Visits(store, random.Random(SEED), rules)  # noqa: S311  no secret
    launch, release = now - 9 * DAY, now - 6 * DAY
    rate = RANKINGS / (DAYS * DAY)
    visits.between(start, launch, rate, always(ranked[FIRST]))
    run_finished_canary(visits, (launch, release), ranked[FIRST], ranked[MODEL], MODEL)
    trial = now - 2 * DAY
    visits.between(release, trial, rate, always(ranked[MODEL]))
    start_running_canary(visits, (trial, now), ranked[MODEL], ranked[TRIED], TRIED)
    _add_cases(store, ranked, TraceFilter(since=start), TraceFilter(until=launch))


def _add_cases(store: TraceStore, ranked: dict[str, DemoModel], every: TraceFilter, early: TraceFilter) -> None:
    """Find bad cases with the detectors, flag one by hand, and label the worst ones."""
    detect(store, every, limits=CASES)
    detect_disagreement(store, early, MODEL, ranked[MODEL].logits, CLOSE, REPLAYED)
    newest = next(iter(store.list_traces(TraceFilter(tenant=TENANTS[1]), limit=1)))
    flag_request(store, newest.request_id, newest.tenant, note="A customer called: the answer was on page two.")
    answers = {question.query: question.answer for model in ranked.values() for question in model.questions}
    for number, case in enumerate(list_cases(store, CaseFilter(state="open"), limit=5)):
        answer = answers.get(case.query or "", "")
        grades = {candidate.index: 3 if candidate.id == answer else 0 for candidate in case.candidates[:6]}
        if number == 4:
            update_case(store, case.id, state="wont_fix", note="The question has no answer in the handbook.")
        else:
            update_case(store, case.id, grades=grades, note="Labelled by the support team.")


def _rules(folder: Path, say: Callable[[str], None]) -> tuple[RuleSet, str | None]:
    """Return the rules, and their file; none where the extra for them is not installed."""
    path = folder / "rules.yaml"
    shutil.copy(RULES, path)
    try:
        return read_rules(path), str(path)
    except MissingDependencyError as error:
        say(f"Without rules: {error}")
        return RuleSet(()), None


def _build_index(folder: Path, say: Callable[[str], None]) -> None:
    """Index the handbook for questions; there is no index where the extra for it is not installed."""
    from rerankd.retrieval.ingest import IngestOptions, ingest
    from rerankd.retrieval.lance import LanceIndex
    from rerankd.retrieval.splitting import SplitOptions

    shutil.copytree(HANDBOOK, folder / HANDBOOK.name)
    tokenizer = load_model(MODEL).tokenizer()
    try:
        index = LanceIndex(folder / INDEX, None, create=True)
        try:
            with contextlib.chdir(folder):  # passages are named by the path that was given
                ingest(
                    [Path(HANDBOOK.name)],
                    index,
                    lambda text: list(tokenizer.encode(text, add_special_tokens=False).offsets),
                    IngestOptions(SplitOptions(160, 20)),
                )
        finally:
            index.close()
    except MissingDependencyError as error:
        say(f"Without an index for Ask: {error}")
