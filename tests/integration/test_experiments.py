"""Experiments on real servers: two behind one database, under load, with faulty challengers, without the database."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

from rerankd.client import Client
from rerankd.database import tables
from rerankd.database.connection import open_engine
from rerankd.database.migrate import MIGRATIONS, VERSION_TABLE
from rerankd.errors import InvalidRequestError
from rerankd.experiments.experiment import Experiment, ExperimentKind
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.store import ExperimentStore
from rerankd.models.reference import bundled_folder
from rerankd.traces.store import TraceFilter, TraceStore
from tests.integration.postgres import Postgres
from tests.integration.serving import Served, metric, serve, until
from tests.program import rerankd

LOOK = 0.2
TEXTS = ["Pandas eat bamboo.", "A car has four wheels.", "Bears eat fish.", "Bamboo grows fast.", "Fish swim."]


@pytest.fixture(scope="module")
def postgres_url(postgres: Postgres) -> str:
    return postgres.fresh("rollout")


@pytest.fixture(scope="module")
def pair(postgres_url: str) -> Iterator[list[Served]]:
    """Two servers of one database."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        yield list(pool.map(lambda _: stack.enter_context(serve(env=env(postgres_url))), range(2)))


@dataclass(frozen=True)
class Faulty:
    """A server, what makes its challengers faulty, and a challenger."""

    url: str
    control: Path
    folder: Path
    traces_url: str


@pytest.fixture(scope="module")
def one_faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    made = tmp_path_factory.mktemp("faulty")
    folder, control, url = made / "copy", made / "control.json", f"sqlite:///{made}/traces.sqlite"
    shutil.copytree(bundled_folder("mini"), folder)
    control.write_text("{}")
    program = ("-m", "tests.integration.rollout_server", str(control))
    root = str(Path(__file__).parents[2])
    settings = env(url, cache=False, index=made / "index", search_threshold=0)
    with serve(env=settings | {"PYTHONPATH": f"{root}:{root}/src"}, program=program) as served:
        yield Faulty(served.url, control, folder, url)


@pytest.fixture
def faulty(one_faulty: Faulty) -> Iterator[Faulty]:
    """Return the server, sound again and without experiments after the test."""
    yield one_faulty
    write_faults(one_faulty.control)
    command(one_faulty.traces_url, "stop", "--all")
    until(lambda: metric(one_faulty.url, "rerankd_experiment_coverage") == 0, "no experiment", 20)


def env(url: str, **more: object) -> dict[str, str]:
    settings = {"traces_url": url, "traces_seconds": 0.1, "rollout_seconds": LOOK, "threads": 1} | more
    return {f"RERANKD_{name.upper()}": str(value) for name, value in settings.items()}


def ask(url: str, user: str = "", name: str = "", query: str = "what eats bamboo?") -> httpx.Response:
    headers = {"x-rerankd-user": user} if user else {}
    headers |= {"x-request-id": name} if name else {}
    return httpx.post(f"{url}/v1/rerank", json={"query": query, "documents": TEXTS}, headers=headers, timeout=60)


def model_version_header(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.headers["x-rerankd-model-version"]


def part_of(response: httpx.Response) -> str:
    return str(response.headers.get("x-rerankd-experiment", ""))


def answers_of(url: str, version: str) -> float:
    """Answers of an exact version, as the metrics count them."""
    lines = [line for line in httpx.get(f"{url}/metrics").text.splitlines() if line.startswith("rerankd_answers_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'version="{version}"' in line)


def command(url: str, *arguments: str) -> CompletedProcess[str]:
    return rerankd("rollout", *arguments, "--traces-url", url)


def write_faults(control: Path, **faults: bool) -> None:
    """Write it atomically, since the server reads it all the time."""
    new = control.with_suffix(".new")
    new.write_text(json.dumps(faults))
    new.replace(control)


def in_force(served: Served | Faulty, name: str, state: str = "running") -> None:
    shown = f'rerankd_experiment_coverage{{experiment="{name}"'
    until(
        lambda: any(
            line.startswith(shown) and f'state="{state}"' in line
            for line in httpx.get(f"{served.url}/metrics").text.splitlines()
        ),
        f"{name} {state}",
        20,
    )


@contextlib.contextmanager
def experiments(url: str) -> Iterator[ExperimentStore]:
    store = ExperimentStore(TraceStore(url))
    try:
        yield store
    finally:
        store.close()


def begun(store: ExperimentStore, kind: ExperimentKind, challenger: object, **plan: Any) -> Experiment:
    usual: dict[str, Any] = {"steps": (1.0,), "min_requests": 20, "min_seconds": 0.0}
    return store.start(Experiment(kind, kind, "mini", str(challenger), plan=ExperimentPlan(**usual | plan)), "test")


@dataclass
class Load:
    """Users who ask two servers without a pause; every answer is kept."""

    urls: list[str]
    answers: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def _work(self, client: int) -> None:
        with httpx.Client(timeout=60) as http:
            number = 0
            while not self.stop.is_set():
                name = f"load-{client}-{number}"
                headers = {"x-rerankd-user": f"user-{number % 40}", "x-request-id": name}
                body = {"query": f"what eats {number}?", "documents": TEXTS[:2]}
                response = http.post(f"{self.urls[number % 2]}/v1/rerank", json=body, headers=headers)
                self.answers[name] = (
                    response.status_code,
                    response.headers.get("x-rerankd-model-version", ""),
                    part_of(response),
                )
                number += 1

    @contextlib.contextmanager
    def running(self, clients: int = 2) -> Iterator[Load]:
        threads = [threading.Thread(target=self._work, args=(client,)) for client in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()


def versions(urls: list[str], users: int = 20) -> list[list[str]]:
    return [[model_version_header(ask(url, f"user-{number}")) for number in range(users)] for url in urls]


def test_a_canary_goes_up_takes_over_and_goes_back_on_two_instances(
    postgres_url: str, pair: list[Served], tiny: Path
) -> None:
    one, two = pair
    urls = [one.url, two.url]
    with experiments(postgres_url) as store:
        champion = model_version_header(ask(one.url, "user-1"))
        with Load(urls).running() as load:
            flags = ("--challenger", str(tiny), "--model", "mini", "--steps", "10,60", "--seed", "seed")
            completed = command(postgres_url, "start", "canary", *flags, "--min-seconds", "3600")
            assert completed.returncode == 0, completed.stderr
            again = command(postgres_url, "start", "second", *flags)
            assert (again.returncode, "rollout stop" in again.stderr) == (2, True), again.stderr
            for served in (one, two):
                in_force(served, "canary")
            first = versions(urls)
            assert first[0] == first[1]
            few = {position for position, version in enumerate(first[0]) if version != champion}
            assert 0 < len(few) < 8
            assert command(postgres_url, "advance", "canary").returncode == 0
            until(lambda: all(metric(url, "rerankd_experiment_coverage") == 0.6 for url in urls), "60 %", 20)
            second = versions(urls)
            assert second[0] == second[1]
            assert few < {position for position, version in enumerate(second[0]) if version != champion}
            assert model_version_header(ask(one.url)) == champion  # nobody in particular
            command(postgres_url, "advance", "canary")
            for served in (one, two):
                in_force(served, "canary", "promoted")
            [challenger] = {version for listed in versions(urls, 5) for version in listed}
            assert challenger == model_version_header(ask(one.url)) != champion
            assert command(postgres_url, "stop", "--all").returncode == 0
            until(lambda: all(metric(url, "rerankd_experiment_coverage") == 0 for url in urls), "back", 20)
            assert {version for listed in versions(urls, 5) for version in listed} == {champion}
        assert {status for status, _, _ in load.answers.values()} == {200}
        shown = {part: {v for _, v, p in load.answers.values() if p == part} for _, _, part in load.answers.values()}
        assert shown["canary/challenger"] == {challenger}
        assert shown["canary/champion"] == shown[""] == {champion}
        until(lambda: sum(metric(url, "rerankd_traces_queue_size") for url in urls) == 0, "traces written")
        traces = {trace.request_id: trace for trace in store.traces.list_traces(limit=100_000)}
        for name, (_, version, part) in load.answers.items():
            trace = traces[name]
            assert (trace.version, f"{trace.experiment}/{trace.arm}".strip("/")) == (version, part)
        actions = [event.action for event in store.events("canary") if event.action != "objective"]
        assert actions == ["roll_back", "promote", "advance", "start"]
        for version, count in Counter(version for _, version, _ in load.answers.values()).items():
            assert sum(answers_of(url, version) for url in urls) >= count
        counted = Counter(variant for _, _, variant in load.answers.values())
        assert (
            len(store.traces.list_traces(TraceFilter(experiment="canary", arm="challenger"), limit=10**6))
            >= counted["canary/challenger"]
        )


def test_without_its_database_what_was_known_stays_in_force(
    postgres: Postgres, postgres_url: str, pair: list[Served], tiny: Path
) -> None:
    served = pair[0]
    with experiments(postgres_url) as store:
        begun(store, "canary", tiny, steps=(0.5,), min_seconds=1e6)
    in_force(served, "canary")
    before = versions([served.url], 10)
    with Client(served.url) as client:
        named = [client.rank("what eats bamboo?", TEXTS, user=f"user-{number}") for number in range(10)]
        assert [variant.version for variant in named] == before[0]
        assert {variant.experiment for variant in named} == {"canary/champion", "canary/challenger"}
        with pytest.raises(InvalidRequestError, match="ASCII"):
            client.rank("q", TEXTS, session="会话")
    assert len(set(before[0])) == 2
    postgres.stop()
    try:
        until(lambda: metric(served.url, "rerankd_experiments_stale") == 1, "stale", 20)
        ready = httpx.get(f"{served.url}/readyz")
        assert ready.status_code == 200
        assert "was not reached for" in ready.json()["details"]
        assert versions([served.url], 10) == before
    finally:
        postgres.start()
    until(lambda: metric(served.url, "rerankd_experiments_stale") == 0, "read again", 40)
    assert "details" not in httpx.get(f"{served.url}/readyz").json()
    with experiments(postgres_url) as store:
        one = store.get("canary")
        until(lambda: sum(sums.count for key, sums in store.sums(one).items() if key[2] == "errors") >= 20, "sums")
        assert sum(store.units(one).values()) == 10
        assert command(postgres_url, "stop", "canary").returncode == 0
    shown = json.loads(command(postgres_url, "status", "canary", "--json").stdout)
    assert (shown["state"], shown["bounds"]["latency"]["low"]) == ("stopped", None)


def test_a_challenger_that_cannot_be_loaded_is_refused(faulty: Faulty, tmp_path: Path) -> None:
    url = faulty.traces_url
    with experiments(url) as store:
        refused = command(url, "start", "lost", "--challenger", str(tmp_path / "nothing"))
        assert refused.returncode == 3, refused.stderr
        begun(store, "canary", tmp_path / "nothing")
        until(lambda: store.get("canary").state == "stopped", "refused", 20)
        assert store.events()[0].action == "refuse"
        assert "cannot be loaded" in store.events()[0].reason
        assert part_of(ask(faulty.url, "user-1")) == ""
        assert (
            httpx.post(
                f"{faulty.url}/v1/rerank",
                json={"query": "q", "documents": ["d"]},
                headers={"x-rerankd-user": "u" * 300},
            ).status_code
            == 400
        )


def test_planted_errors_are_rolled_back_and_no_request_fails(faulty: Faulty) -> None:
    with experiments(faulty.traces_url) as store:
        begun(store, "canary", faulty.folder, steps=(0.5, 1.0))
        in_force(faulty, "canary")
        write_faults(faulty.control, always=True)  # it was sound when it was loaded
        parts: Counter[str] = Counter()
        while store.get("canary").state == "running":
            parts[part_of(ask(faulty.url, f"user-{parts.total()}"))] += 1
            assert parts.total() < 500
        event = store.events("canary")[0]
        assert (event.action, event.coverage) == ("roll_back", 0.0)
        assert event.reason.startswith("errors")
        assert 2 <= event.data["requests"]["challenger"] < 100
        assert parts["canary/fallback"] >= 2
        assert parts["canary/challenger"] == 0
        until(lambda: part_of(ask(faulty.url, "user-1")) == "", "the champion alone", 20)


def test_a_shadow_is_never_in_the_way(faulty: Faulty) -> None:
    with experiments(faulty.traces_url) as store:
        one = begun(store, "shadow", faulty.folder)
        in_force(faulty, "shadow")
        write_faults(faulty.control, hang=True)
        responses = [ask(faulty.url, query=f"what eats {number}?") for number in range(80)]
        assert {part_of(response) for response in responses} == {""}  # all were answered while the challenger hung
        assert metric(faulty.url, 'rerankd_experiment_shadows_total{experiment="shadow",result="compared"}') == 0
        assert metric(faulty.url, 'rerankd_experiment_shadows_total{experiment="shadow",result="dropped"}') > 0
        write_faults(faulty.control)
        until(lambda: store.sums(one).get((0, "challenger", "tau")) is not None, "compared", 20)
        sums = store.sums(one)
        assert -1 <= sums[0, "challenger", "tau"].mean <= 1
        assert sums[0, "challenger", "errors"].total == 0


def test_questions_to_the_index_take_part(faulty: Faulty) -> None:
    document = faulty.control.with_name("pandas.txt")
    document.write_text("Pandas eat bamboo.")
    assert rerankd("index", str(document), "--index", str(faulty.control.with_name("index"))).returncode == 0
    flags = ("--challenger", str(faulty.folder), "--kind", "split", "--steps", "100", "--no-check")
    completed = command(faulty.traces_url, "start", "halves", *flags)
    assert completed.returncode == 0, completed.stderr
    in_force(faulty, "halves")
    variants = Counter[str]()
    for number in range(12):
        headers = {"x-rerankd-user": f"u{number}", "x-request-id": f"question{number}"}
        body = {"query": "what eats bamboo?"}
        response = httpx.post(f"{faulty.url}/v1/search", json=body, headers=headers, timeout=60)
        answered = httpx.post(f"{faulty.url}/v1/ask", json=body, headers=headers, timeout=60)
        streamed = httpx.post(f"{faulty.url}/v1/ask", json=body | {"stream": True}, headers=headers, timeout=60)
        variant = part_of(response)
        assert (part_of(answered), part_of(streamed)) == (variant, variant)
        assert response.json()["experiment"] == answered.json()["experiment"] == variant
        assert (
            response.json()["version"]
            == model_version_header(response)
            == model_version_header(answered)
            == model_version_header(streamed)
        )
        variants[variant] += 1
    assert set(variants) == {"halves/champion", "halves/challenger"}
    nobody = httpx.post(f"{faulty.url}/v1/search", json={"query": "what eats bamboo?"}, timeout=60)
    assert part_of(nobody) == nobody.json()["experiment"] == ""
    command(faulty.traces_url, "stop", "halves")


def test_feedback_ends_an_interleaving_whose_challenger_loses(faulty: Faulty, tiny: Path) -> None:
    with experiments(faulty.traces_url) as store:
        begun(store, "interleave", tiny, auto_promote=False)
        in_force(faulty, "interleave")
        rows: list[tuple[str, str]] = []
        for number in range(40):
            response = ask(faulty.url, f"user-{number}", name=f"r{number}", query=f"what eats bamboo, {number}?")
            assert part_of(response) == "interleave/interleaved"
            scores = [one["relevance_score"] for one in response.json()["results"]]
            assert scores == sorted(scores, reverse=True)
        columns = tables.trace.c

        def traced() -> bool:
            query = select(columns.request_id, columns.teams).where(columns.experiment == "interleave")
            with store.traces.connect() as connection:
                rows[:] = [(row[0], row[1]) for row in connection.execute(query)]
            return len(rows) == 40

        until(traced, "traces", 20)
        assert any("0" in teams and "1" in teams for _, teams in rows)
        for name, teams in rows:
            if "0" in teams:
                body = {"request_id": name, "kind": "click", "index": teams.index("0")}
                assert httpx.post(f"{faulty.url}/v1/feedback", json=body).status_code == 202
        until(lambda: store.get("interleave").state == "rolled_back", "rolled back", 20)
        event = store.events("interleave")[0]
        assert "The ranking is worse: 0 rankings won" in event.reason


def test_traces_of_the_version_before_are_kept(url: str) -> None:
    """They are brought up to date, and an instance of that version may go on writing."""
    engine = open_engine(url)
    script = ScriptDirectory(str(MIGRATIONS))
    line = text(
        "INSERT INTO trace (id, time, query, parameters, documents, kept, top_before, top_score, truncated, cached, "
        "tokens, tokenization_ms, queue_ms, inference_ms, total_ms, tenant, request_id, source, model, version) "
        "VALUES (:id, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '', 'r', 'http', 'mini', 'v1')"
    )
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        options = {
            "version_table": VERSION_TABLE,
            "fn": lambda revision, _: script._upgrade_revs("0003", revision),
        }
        context = MigrationContext.configure(connection, opts=options)
        with Operations.context(context):
            context.run_migrations()
        connection.execute(line, {"id": 1})
    with experiments(url) as store:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            connection.execute(line, {"id": 2})
        assert sorted((trace.id, trace.experiment, trace.arm) for trace in store.traces.list_traces()) == [
            (1, "", ""),
            (2, "", ""),
        ]
        assert store.active() == []
    engine.dispose()
