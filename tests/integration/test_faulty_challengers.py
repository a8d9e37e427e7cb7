"""Experiments on a real server with challengers that fail, hang, or rank worse."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from rerankd.database import tables
from rerankd.models.reference import bundled_folder
from tests.integration.experiments import (
    ask,
    begun,
    command,
    env,
    experiments,
    in_force,
    model_version_header,
    part_of,
)
from tests.integration.serving import metric, serve, until
from tests.program import rerankd


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


def write_faults(control: Path, **faults: bool) -> None:
    """Write it atomically, since the server reads it all the time."""
    new = control.with_suffix(".new")
    new.write_text(json.dumps(faults))
    new.replace(control)


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
        in_force(faulty.url, "canary")
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
        in_force(faulty.url, "shadow")
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
    in_force(faulty.url, "halves")
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
        in_force(faulty.url, "interleave")
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
