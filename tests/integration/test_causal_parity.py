"""Causal rerankers: the prompts of their published code, token by token, and the scores of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rerankd import Reranker
from rerankd.models.files import load_model
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from tests.conftest import compile_twice
from tests.families.causal import save_with_answers, write_model

LENGTH = 512
TOLERANCE = 1e-4
Pairs = list[tuple[str, str]]
WEB = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
MXBAI_PREFIX = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)
MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pairs(mixed_pairs: Pairs) -> Pairs:
    """Return 100 pairs whose queries leave room for the document, since the published code cuts only the end.

    One in three begins or ends with what tokenizers merge with its neighbours.
    """
    edges = ["{}", "{}", "{}", "{}", "{}?", "{}。\n", " {}", "\n{}", "{}...", '"{}"', "{} ", "\t{}!\r\n"]
    short = [pair for pair in mixed_pairs if len(pair[0]) < 200][:100]
    return [
        (edges[number % 12].format(query), edges[(number * 5) % 12].format(document) if document else "")
        for number, (query, document) in enumerate(short)
    ]


KINDS = ["Qwen3ForCausalLM", "Qwen3ForSequenceClassification", "Qwen2ForCausalLM", "mxbai-rerank"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    made = tmp_path_factory.mktemp("causal") / kind
    if kind == "Qwen3ForSequenceClassification":
        return write_model(made, texts, kind, num_labels=1, rope_theta=1e6)
    if kind == "Qwen3ForCausalLM":
        return write_model(made, texts, kind, attention_bias=True, tie_word_embeddings=False)
    return write_model(made, texts, "Qwen2ForCausalLM", tie_word_embeddings=kind == "mxbai-rerank")


def published_ids(kind: str, tokenizer: Any, query: str, document: str, instruction: str | None) -> list[int]:
    """Return ids as the model cards of Qwen3-Reranker and the package mxbai-rerank make them."""

    def ids(text: str, **options: Any) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, **options)["input_ids"])

    if kind != "mxbai-rerank":
        body = f"<Instruct>: {instruction or WEB}\n<Query>: {query}\n<Document>: {document}"
        prefix, suffix = ids(PREFIX), ids(SUFFIX)
        return prefix + ids(body, truncation=True, max_length=LENGTH - len(prefix) - len(suffix)) + suffix
    prefix, separator, task = ids(MXBAI_PREFIX), ids("\n"), ids(MXBAI_TASK)
    suffix = ids("<|im_end|>\n<|im_start|>assistant\n")
    told = f"instruction: {instruction}\nquery: {query}" if instruction else f"query: {query}"
    room = LENGTH - len(prefix) - len(separator) - len(task) - len(suffix)
    both = [*ids(told), *separator, *ids(f"document: {document}")][:room]
    return prefix + both + separator + task + suffix


@pytest.mark.parametrize("instruction", [None, "找到能回答问题的段落？"])
def test_prompts_are_those_of_the_published_code(
    kind: str, folder: Path, pairs: Pairs, instruction: str | None
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    files = load_model(str(folder))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    cut = 0
    for query, document in pairs:
        pair = encoder.encode(query, [document], TruncationOptions(LENGTH, instruction=instruction))[0][0]
        assert pair.ids.tolist() == published_ids(kind, tokenizer, query, document, instruction)
        cut += pair.truncated
    assert 10 <= cut <= 90, "the workload must hold both"


@pytest.fixture(scope="module")
def expected(kind: str, folder: Path, pairs: Pairs) -> npt.NDArray[np.float64]:
    import torch
    import transformers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    classifier = kind.endswith("Classification")
    auto = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder).eval()
    yes, no = ("1", "0") if kind == "mxbai-rerank" else ("yes", "no")
    scores = []
    with torch.inference_mode():
        for query, document in pairs:
            logits = model(torch.tensor([published_ids(kind, tokenizer, query, document, None)])).logits[0]
            answers: Any = tokenizer.convert_tokens_to_ids([yes, no])
            scores.append(float(logits[0] if classifier else logits[-1, answers[0]] - logits[-1, answers[1]]))
    return np.array(scores)


def opened(folder: Path) -> Reranker:
    return Reranker(str(folder), max_length=LENGTH, backend="torch", device="cpu", precision="fp32")


def test_scores_are_those_of_transformers(folder: Path, pairs: Pairs, expected: npt.NDArray[np.float64]) -> None:
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(opened(folder).score(pairs, activation="none"), expected, atol=TOLERANCE)


def test_a_shared_beginning_changes_no_score(folder: Path, pairs: Pairs) -> None:
    reranker = opened(folder)
    same_query = [(pairs[0][0], document) for _, document in pairs[:24]]
    together = reranker.score(same_query, activation="none")
    alone = [reranker.score([pair], activation="none")[0] for pair in same_query]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_compiled_scores_are_those_of_transformers(
    folder: Path, pairs: Pairs, expected: npt.NDArray[np.float64], tmp_path: Path
) -> None:
    compiled = compile_twice(folder, tmp_path)
    logits = Reranker(str(compiled["fp32"]), max_length=LENGTH).score(pairs, activation="none")
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE)
    int8 = Reranker(str(compiled["int8"]), max_length=LENGTH)
    together = int8.score(pairs[:20], activation="none")
    assert together.tolist() == [int8.score([pair], activation="none")[0] for pair in pairs[:20]]
    assert np.corrcoef(together, expected[:20])[0, 1] > 0.9


@pytest.mark.parametrize("prompts", [None, {"web": "找到能回答问题的段落？"}])
def test_folders_of_sentence_transformers_score_as_there(
    tmp_path: Path, texts: list[str], pairs: Pairs, prompts: dict[str, str] | None
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    source = write_model(tmp_path / "source", texts, "Qwen3ForCausalLM", tie_word_embeddings=True)
    saved = save_with_answers(tmp_path / "saved", source, prompts)
    reference = CrossEncoder(str(saved), max_length=LENGTH, device="cpu", activation_fn=torch.nn.Identity())
    reranker = opened(saved)
    encoder = PairEncoder(reranker.files.tokenizer(), reranker.files.manifest.template)
    for query, document in pairs:
        features = reference.preprocess([(query, document)], prompt=prompts and prompts["web"])
        ids = encoder.encode(query, [document], TruncationOptions(LENGTH))[0][0].ids
        assert ids.tolist() == features["input_ids"][0].tolist()
    scores = reference.predict(pairs, batch_size=16, show_progress_bar=False)
    np.testing.assert_allclose(reranker.score(pairs, activation="none"), scores, atol=TOLERANCE)
