from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from rerankd import AsyncReranker, Document, InvalidRequestError, Reranker, ScoringError
from rerankd.ranking.activation import activate
from rerankd.types import Precision


@pytest.fixture(scope="module")
def reranker(compiled: dict[str, Path]) -> Reranker:
    return Reranker(str(compiled["fp32"]), max_length=128)


@pytest.fixture(scope="module")
def mini() -> Reranker:
    return Reranker()


def test_order_places_and_scores(reranker: Reranker, texts: list[str]) -> None:
    result = reranker.rank("苹果公司的手机", texts[:20], top_n=None)
    logits = [ranked.raw_score for ranked in result]
    assert logits == sorted(logits, reverse=True)
    assert sorted(ranked.index for ranked in result) == list(range(20))
    for position, ranked in enumerate(result, 1):
        assert (ranked.rank_after, ranked.rank_before) == (position, ranked.index + 1)
        assert ranked.document.text == texts[ranked.index]
        assert ranked.relevance_score == pytest.approx(1 / (1 + math.exp(-ranked.raw_score)))
    assert result.usage.pairs == 20
    assert result.model == reranker.model
    assert list(result.timings) == ["tokenization", "queue", "inference", "total"]
    assert result.timings["total"] == pytest.approx(sum(result.timings[step] for step in ("tokenization", "inference")))


def test_top_n(reranker: Reranker, texts: list[str]) -> None:
    assert len(reranker.rank("q", texts)) == 5
    assert len(reranker.rank("q", texts, 3)) == 3
    assert len(reranker.rank("q", texts[:2], 3)) == 2
    ranking = reranker.rank("q", texts, None)
    assert [ranked.index for ranked in ranking][:3] == [ranked.index for ranked in reranker.rank("q", texts, 3)]


@pytest.mark.parametrize("top_n", [0, -1, 1.5, True, "3"])
def test_bad_top_n(reranker: Reranker, top_n: Any) -> None:
    with pytest.raises(InvalidRequestError, match="top_n is .* an integer of at least 1"):
        reranker.rank("q", ["d"], top_n)


def test_documents_come_back_untouched(reranker: Reranker) -> None:
    documents: list[Any] = [{"text": " a \n", "id": "x", "metadata": {"page": 3}}, Document("b\ud800")]
    back = {ranked.index: ranked.document for ranked in reranker.rank("q", documents)}
    assert back == {0: Document(" a \n", "x", {"page": 3}), 1: documents[1]}


def test_what_was_passed_comes_back_and_its_score_counts(reranker: Reranker, texts: list[str]) -> None:
    documents: list[Any] = [{"text": text, "id": n, "score": n, "page": 1} for n, text in enumerate(texts[:4])]
    for given in (documents, [{**one, "score": np.float32(one["score"])} for one in documents]):
        ranked = reranker.rank(texts[0], given, cast(int, np.int64(3)), fusion="weighted", fusion_weight=100)
        assert [one.document.id for one in ranked] == [3, 2, 1]
        assert ranked[0].document == Document(texts[3], 3, {"score": 3, "page": 1})
    reverse = reranker.rank(texts[0], documents, fusion="rrf", fusion_weight=np.float64(100))
    assert [one.index for one in reverse] == [3, 2, 1, 0]


def test_blank_documents_are_last_and_alike(reranker: Reranker, texts: list[str]) -> None:
    blanks = ["", "   ", "\u200b", "\u00a0\ufeff"]
    result = reranker.rank(texts[0], [*blanks, texts[5], texts[1]], None)
    assert {one.index for one in result.results[:2]} == {4, 5}
    assert len({one.raw_score for one in result.results[2:]}) == 1
    assert result[2].raw_score < result[1].raw_score
    assert len(set(reranker.score([(texts[0], blank) for blank in blanks]))) == 1


def test_no_documents(reranker: Reranker) -> None:
    result = reranker.rank("q", [])
    assert (len(result), result.usage.pairs, result.usage.tokens) == (0, 0, 0)
    assert reranker.score([]).shape == (0,)
    assert reranker.rank_batch([], []) == []


def test_empty_document_is_scored(reranker: Reranker) -> None:
    assert np.isfinite(reranker.rank("q", ["", " "])[0].raw_score)


def test_duplicates_tie_in_order(reranker: Reranker, texts: list[str]) -> None:
    result = reranker.rank("q", [texts[1], texts[0], texts[1], texts[0]], None)
    scores = {ranked.index: ranked.raw_score for ranked in result}
    assert scores[0] == scores[2]
    assert scores[1] == scores[3]
    order = [ranked.index for ranked in result]
    assert order in ([0, 2, 1, 3], [1, 3, 0, 2])


def test_batch_of_queries(reranker: Reranker, texts: list[str]) -> None:
    results = reranker.rank_batch(["one", "two"], [texts[:3], texts[3:7]], None)
    for query, documents, result in zip(["one", "two"], [texts[:3], texts[3:7]], results, strict=True):
        alone = reranker.rank(query, documents, None)
        assert [r.index for r in alone] == [r.index for r in result]
        np.testing.assert_allclose([r.raw_score for r in alone], [r.raw_score for r in result], atol=1e-5)


@pytest.mark.parametrize(("queries", "documents"), [(["a"], []), ("a", ["b"])])
def test_batch_that_does_not_match(reranker: Reranker, queries: Any, documents: Any) -> None:
    with pytest.raises(InvalidRequestError, match="queries and documents do not match"):
        reranker.rank_batch(queries, documents)


def test_score_keeps_the_order_of_pairs(reranker: Reranker, texts: list[str]) -> None:
    pairs = [("a", texts[0]), ("b", texts[1]), ("a", texts[2])]
    scores = reranker.score(pairs)
    assert scores.dtype == np.float64
    for pair, score in zip(pairs, scores, strict=True):
        assert reranker.score([pair])[0] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "none", "softmax"])
def test_activations(reranker: Reranker, texts: list[str], activation: Any) -> None:
    result = reranker.rank("q", texts[:4], None, activation=activation)
    expected = activate([ranked.raw_score for ranked in result], activation)
    np.testing.assert_allclose([ranked.relevance_score for ranked in result], expected)


def test_unknown_activation(reranker: Reranker) -> None:
    with pytest.raises(InvalidRequestError, match="Unknown activation 'relu'"):
        reranker.rank("q", ["d"], activation="relu")  # type: ignore[arg-type]


def test_batch_size_changes_nothing(checkpoint: Path, texts: list[str]) -> None:
    default = Reranker(str(checkpoint), device="cpu")
    small = Reranker(str(checkpoint), device="cpu", batch_size=1, max_batch_tokens=10)
    for one in (small.rank("q", texts[:9], None), default.rank("q", texts[:9], None, batch_size=2)):
        expected = default.rank("q", texts[:9], None)
        np.testing.assert_allclose([r.raw_score for r in one], [r.raw_score for r in expected], atol=1e-5)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_batch_tokens": 0}, {"batch_size": "8"}])
def test_bad_batches(compiled: dict[str, Path], options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="an integer of at least 1"):
        Reranker(str(compiled["fp32"]), **options)


def test_max_length(reranker: Reranker, texts: list[str]) -> None:
    long = " ".join(texts)
    result = reranker.rank("q", [long, "short"], None, max_length=32)
    assert {ranked.index: ranked.truncated for ranked in result} == {0: True, 1: False}
    assert result.usage.tokens < 64
    assert result.usage.truncated == 1
    with pytest.raises(InvalidRequestError, match=r"max_length is 9999; .* reads at most 512 tokens"):
        reranker.rank("q", ["d"], max_length=9999)


def test_long_documents_in_chunks(compiled: dict[str, Path], texts: list[str]) -> None:
    chunked = Reranker(str(compiled["fp32"]), max_length=64, long_documents="chunk", chunk_overlap=8, max_chunks=50)
    document = " ".join(texts)
    (ranked,) = chunked.rank("苹果", [document])
    assert ranked.chunks > 3, "windows"
    assert not ranked.truncated
    assert ranked.raw_score >= Reranker(str(compiled["fp32"]), max_length=64).rank("苹果", [document])[0].raw_score


@pytest.mark.slow
def test_ten_thousand_documents(compiled: dict[str, Path]) -> None:
    documents = [f"{n} 号文档 document" for n in range(10_000)]
    result = Reranker(str(compiled["int8"])).rank("第 7 号 document", documents, None)
    assert sorted(ranked.index for ranked in result) == list(range(10_000))


def test_megabyte_document_and_lone_surrogates(mini: Reranker) -> None:
    result = mini.rank("熊猫\udc00", ["熊猫吃竹子。" * 60_000, "a\ud800b", "\x00\x07"], None)
    assert len(result) == 3
    assert {ranked.index: ranked.truncated for ranked in result} == {0: True, 1: False, 2: False}


@pytest.mark.slow
def test_threads_get_the_same_scores(checkpoint: Path, compiled: dict[str, Path], texts: list[str]) -> None:
    for folder in (checkpoint, compiled["int8"]):
        reranker = Reranker(str(folder), device="cpu")
        expected = reranker.score([(text, texts[0]) for text in texts[:30]])

        def one(position: int, reranker: Reranker = reranker) -> float:
            return float(reranker.score([(texts[position], texts[0])])[0])

        with ThreadPoolExecutor(8) as pool:
            scores = list(pool.map(one, [*range(30), *range(30)]))
        np.testing.assert_allclose(scores, [*expected, *expected], atol=1e-5)


async def test_async_twin(mini: Reranker, texts: list[str]) -> None:
    async with AsyncReranker(mini) as reranker:
        results = await asyncio.gather(*(reranker.rank(text, texts[:5]) for text in texts[:4]))
        assert [r[0].index for r in results] == [mini.rank(text, texts[:5])[0].index for text in texts[:4]]
        assert (await reranker.score([("a", "b")])).shape == (1,)
        assert len(await reranker.rank_batch(["a"], [texts[:2]])) == 1
        with pytest.raises(InvalidRequestError, match="The query is empty"):
            await reranker.rank("", ["d"])


@pytest.mark.slow
async def test_event_loop_stays_free(mini: Reranker, texts: list[str]) -> None:
    async with AsyncReranker(mini) as reranker:
        work = asyncio.create_task(reranker.rank("q", texts * 5))
        turns = 0
        while not work.done():
            await asyncio.sleep(0)
            turns += 1
        assert len(await work) == 5
        assert turns > 1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_needs_a_cpu_that_has_it(
    precision: Precision, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerankd.scoring.torch.backend.cpu_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(
        InvalidRequestError,
        match=rf"This CPU has no instructions for {precision} \(a.*slower than fp32. Use fp32, or compile",
    ):
        Reranker(str(checkpoint), device="cpu", precision=precision)
    monkeypatch.setattr("rerankd.scoring.torch.backend.cpu_flags", lambda: frozenset({"avx512_bf16", "avx512_fp16"}))
    half = Reranker(str(checkpoint), device="cpu", precision=precision)
    assert half.backend == f"torch cpu {precision}"
    pairs = [("capital of France", "Paris is the capital."), ("capital of France", "Pears."), ("q", "d " * 200)]
    expected = Reranker(str(checkpoint), device="cpu", precision="fp32").score(pairs, activation="none")
    together = half.score(pairs, activation="none")
    alone = [half.score([pair], activation="none")[0] for pair in pairs]
    np.testing.assert_allclose(together, expected, atol=0.05)
    np.testing.assert_allclose(together, alone, atol=0.01)


def test_use_fp16_is_ignored_on_a_cpu(checkpoint: Path) -> None:
    assert Reranker(str(checkpoint), device="cpu", use_fp16=True).backend == "torch cpu fp32"


def test_scores_that_are_no_numbers(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = reranker._scorer.backend
    monkeypatch.setattr(backend, "logits", lambda pairs: np.full(len(pairs), np.nan, np.float32))
    with pytest.raises(ScoringError, match="The model returned 1 scores that are not finite numbers. Check its files"):
        reranker.rank("q", ["d"])


def test_progress_goes_to_standard_error(reranker: Reranker, capsys: pytest.CaptureFixture[str]) -> None:
    reranker.rank("q", ["a", "b"], show_progress=True)
    captured = capsys.readouterr()
    assert "scoring" in captured.err
    assert captured.out == ""
    reranker.rank("q", ["a", "b"])
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_threshold_keeps_what_reaches_it_whatever_is_shown(mini: Reranker, texts: list[str]) -> None:
    texts = texts[:20]
    every = mini.rank("What is Apple's newest phone?", texts, top_n=None)
    middle = sorted(ranked.relevance_score for ranked in every)[len(texts) // 2]
    for activation in ("sigmoid", "none", "softmax"):
        kept = mini.rank("What is Apple's newest phone?", texts, None, activation=activation, threshold=middle)
        assert [ranked.index for ranked in kept] == [r.index for r in every if r.relevance_score >= middle]
    assert len(mini.rank("q", texts, threshold=1.0)) == 0
    assert len(mini.rank("q", texts, 2, threshold=0.0)) == 2
    for wrong in (1.5, -0.1, float("nan"), "0.5", True):
        with pytest.raises(InvalidRequestError, match="threshold"):
            mini.rank("q", texts, threshold=wrong)  # type: ignore[arg-type]
