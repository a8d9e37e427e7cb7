"""An instruction reaches the encoder from every entrance of the library, and is never ignored in silence."""

from __future__ import annotations

import asyncio
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rerankd import AsyncReranker, Reranker
from rerankd._common.instruction import IGNORED
from rerankd.engine.cache import MemoryCache, pair_keys
from rerankd.engine.engine import Engine
from rerankd.engine.request import ScoreRequest
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.dataset import open_dataset
from rerankd.evaluation.run import rerank_dataset
from rerankd.integrations.ranker import LocalRanker, kept
from rerankd.jobs.results import result_rows
from rerankd.jobs.work import RankWork, ScoreWork, decode_work, encode_work
from rerankd.ranking.requests import build_request
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import Document, RankingRecord, TruncationOverrides
from tests.faults import ScriptedBackend, scripted_scorer
from tests.instructions import ASKED, read_instructions
from tests.unit.evaluation.test_dataset_checks import write
from tests.unit.jobs.scripted_worker import new_job, working

TEXTS = ["A car.", "A panda eats bamboo."]
SECONDS = 20


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    return read_instructions(monkeypatch)


@pytest.fixture(scope="module")
def mini() -> Reranker:
    return Reranker(threads=1)


class Recorded:
    def __init__(self) -> None:
        self.records: list[RankingRecord] = []

    def record(self, ranking: RankingRecord) -> None:
        self.records.append(ranking)


async def test_the_library_passes_it_on(mini: Reranker, seen: list[str | None]) -> None:
    result = mini.rank("q", TEXTS, instruction=ASKED)
    assert (seen, result.warnings) == ([ASKED], ())
    mini.rank_batch(["q", "r"], [TEXTS, TEXTS], instruction="b")
    mini.score([("q", "a")], instruction="c")
    mini.rank("q", TEXTS, instruction=" ")
    mini.rank("q", TEXTS)
    async with AsyncReranker(mini) as reranker:
        await reranker.rank("q", TEXTS, instruction="d")
        await reranker.score([("q", "a")], instruction="e")
    assert seen == [ASKED, "b", "b", "c", None, None, "d", "e"]
    with pytest.raises(InvalidRequestError, match="The instruction has 5000 characters; 4096 are allowed"):
        mini.rank("q", TEXTS, instruction="x" * 5000)


def test_a_reranker_has_a_default_that_calls_override(seen: list[str | None]) -> None:
    recorder = Recorded()
    reranker = Reranker(threads=1, instruction=ASKED, recorder=recorder)
    assert reranker.takes_instruction
    reranker.rank("q", TEXTS)
    reranker.rank("q", TEXTS, instruction="other")
    reranker.score([("q", "a")])
    assert seen == [ASKED, "other", ASKED]
    assert [ranking.instruction for ranking in recorder.records] == [ASKED, "other"]


def test_a_model_that_reads_none_says_so() -> None:
    with pytest.warns(UserWarning, match=f"^mini: {IGNORED}$"):
        reranker = Reranker(threads=1, instruction=ASKED)
    plain = Reranker(threads=1)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        assert reranker.rank("q", TEXTS).warnings == (IGNORED,)
        assert plain.rank("q", TEXTS).warnings == ()
        assert plain.rank("q", TEXTS, instruction="").warnings == ()
        assert raised == []
        results = [plain.rank("q", TEXTS, instruction=ASKED) for _ in range(2)]
        plain.score([("q", "a")], instruction=ASKED)
    assert [str(one.message) for one in raised] == [f"mini: {IGNORED}"]
    assert all(result.warnings == (IGNORED,) for result in results)
    assert not plain.takes_instruction
    logits = [ranked.raw_score for ranked in results[0]]
    assert logits == [ranked.raw_score for ranked in plain.rank("q", TEXTS)]


def test_integrations_pass_it_on_only_where_there_is_one(seen: list[str | None]) -> None:
    local = LocalRanker("mini")
    kept(local, "q", TEXTS, 1, None, ASKED)
    kept(local, "q", TEXTS, 1, None)
    assert seen == [ASKED, None]

    class Own:
        def rank(self, query: str, documents: object, top_n: int | None, /) -> tuple[()]:
            return ()

    assert kept(Own(), "q", TEXTS, 1, None) == []  # type: ignore[arg-type]


HARD = ["a", "b", "x, instruction=None)", "x", "None", "'", "\"'", "a\0b", "a', max_length=8", "令"]


def test_two_instructions_share_no_key_of_the_cache() -> None:
    options = [TruncationOptions(512, instruction=text) for text in [None, *HARD]]
    assert len({pair_keys("v1", one, "q", ["d"])[0] for one in options}) == len(options)
    overrides = [TruncationOverrides(instruction=text) for text in [None, *HARD]]
    assert len({one.identity for one in overrides}) == len(overrides)


def test_options_without_one_are_called_what_they_were() -> None:
    assert TruncationOptions(512).identity == (
        "(max_length=512, truncation='only_second', long_documents='truncate', chunk_overlap=64, max_chunks=16,"
        " truncation_side='right', max_query_tokens=None, max_document_tokens=None)"
    )
    assert TruncationOverrides().identity.endswith(", allow_truncation=True)")


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def engine(backend: ScriptedBackend, seen: list[str | None]) -> Iterator[Engine]:
    engine = Engine("m", "v1", scripted_scorer(backend), cache=MemoryCache(100))
    engine.admission.rate.observe(10**6, 1.0)
    yield engine
    backend.gate.set()
    engine.close(1.0)


def scored(instruction: str | None) -> ScoreRequest:
    return ScoreRequest([("q", ["a document"])], TruncationOptions(64, instruction=instruction))


def test_a_cached_score_is_of_the_same_instruction(engine: Engine, backend: ScriptedBackend) -> None:
    asked = ["one", "two", None, "one", "two", None]
    results = [engine.submit(scored(text)).future.result(SECONDS) for text in asked]
    scores = [result.scores[0][0].raw_score for result in results]
    assert scores[:3] == scores[3:]
    assert len(set(scores)) == 3
    assert [result.cached for result in results] == [0, 0, 0, 1, 1, 1]
    assert len(backend.calls) == 3


def test_pairs_in_flight_are_joined_only_with_the_same_instruction(engine: Engine, backend: ScriptedBackend) -> None:
    backend.gate.clear()
    requests = [engine.submit(scored(text)) for text in ("one", "two", "one")]
    backend.gate.set()
    first, second, third = (request.future.result(SECONDS).scores[0][0].raw_score for request in requests)
    assert first == third != second
    assert sum(map(len, backend.calls)) == 2


def test_jobs_store_it_and_read_what_older_versions_stored() -> None:
    truncation = TruncationOverrides(max_length=64, instruction=ASKED)
    request = build_request("q", [Document("d")], truncation=truncation)
    work: list[RankWork | ScoreWork] = [RankWork(request), ScoreWork([("q", ["d"])], None, truncation)]
    ranked, pairs = decode_work(encode_work(work))
    assert isinstance(ranked, RankWork)
    assert isinstance(pairs, ScoreWork)
    assert ranked.request.truncation == pairs.truncation == truncation
    older = b'[{"groups":[["q",["d"]]],"model":null,"policy":{"max_length":64},"cache":true}]'
    (old,) = decode_work(older)
    assert isinstance(old, ScoreWork)
    assert old.truncation.instruction is None
    assert encode_work([old]) == older


def test_requests_are_checked_where_they_are_built() -> None:
    blank = build_request("q", [], truncation=TruncationOverrides(max_length=64, instruction="  "))
    assert blank.truncation == TruncationOverrides(max_length=64)
    with pytest.raises(InvalidRequestError, match="The instruction has 5000 characters"):
        build_request("q", [], truncation=TruncationOverrides(instruction="x" * 5000))
    assert dataclasses.fields(TruncationOverrides)[-1].name == "instruction"


def test_its_tokens_are_estimated_for_each_document(engine: Engine) -> None:
    """Quotas and the queue reckon with the estimate."""

    def estimate(instruction: str | None) -> int:
        options = TruncationOptions(512, instruction=instruction)
        return engine.estimate_tokens([("q", ["a", "b", "c"])], options)

    assert estimate("word " * 100) >= estimate(None) + 3 * 100


def test_pairs_of_a_job_say_what_was_ignored(tmp_path: Path) -> None:
    work = ScoreWork([("q", ["a"])], None, TruncationOverrides(instruction=ASKED))

    async def rows() -> list[Any]:
        async with working(ScriptedBackend(), tmp_path) as (store, worker):
            job, _ = store.create(new_job(work, ScoreWork([("q", ["a"])])))
            await worker.work_until()
            return list(result_rows(store.results(job.id)))

    first, second = asyncio.run(rows())
    assert first["meta"] == {"warnings": [IGNORED]}
    assert "meta" not in second
    assert first["scores"] == second["scores"]


def test_an_evaluation_names_it(seen: list[str | None], tmp_path: Path) -> None:
    reranker = Reranker(threads=1, instruction=ASKED)
    folder = write(tmp_path / "set", {"q1": "pandas"}, {"d1": "pandas eat bamboo"}, {"q1": {"d1": 1}})
    run = rerank_dataset("mini", reranker, open_dataset(folder))
    assert run.description.endswith(f", instruction {ASKED!r}")
    assert set(seen) == {ASKED}
