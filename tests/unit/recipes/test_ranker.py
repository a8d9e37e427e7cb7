from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from recipes.mini import nano  # noqa: E402  torch is optional
from recipes.mini import tokens as pairs  # noqa: E402  torch is optional
from recipes.mini.graph import RankerGraph  # noqa: E402
from recipes.mini.model import LEVELS, Ranker, load, match_levels  # noqa: E402
from rerankd.models.architecture import Architecture  # noqa: E402


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=5,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        initializer_range=0.2,
    )
    model = Ranker(BertModel(config)).eval()
    torch.nn.init.normal_(model.classifier.weight)
    return model


def test_match_levels_count_the_run_a_token_is_part_of() -> None:
    #                    q: 10 11 12 13 14       d: 11 12 13 20 10 20 14 13
    ids = torch.tensor([[2, 10, 11, 12, 13, 14, 3, 11, 12, 13, 20, 10, 20, 14, 13, 3, 0]])
    segments = torch.tensor([[0] * 7 + [1] * 9 + [0]])
    assert match_levels(ids, segments).tolist() == [[0, 1, 3, 3, 3, 1, 0, 3, 3, 3, 0, 1, 0, 1, 1, 0, 0]]


def test_a_pair_scores_alike_alone_and_in_a_batch(ranker: Ranker) -> None:
    rows = [pairs.encode([10, 11], document, 40) for document in ([12], [10, 11, 12, 13], [20] * 30)]
    with torch.inference_mode():
        together = pairs.score_rows(ranker, rows, part_tokens=10_000)
        alone = torch.cat([pairs.score_rows(ranker, [row]) for row in rows])
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-4)


def test_the_graph_computes_what_the_ranker_computes(ranker: Ranker) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    weights = {name: value.detach().numpy() for name, value in ranker.state_dict().items()}
    shape = Architecture("bert", 5, 32, 4, 64, 60, 40, 2 * LEVELS, 1e-12, 0)
    graph = RankerGraph(shape, weights.__getitem__, "fp32").build()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [pairs.encode([10, 11, 12], document, 40) for document in ([], [11, 12], [10, 11, 12, 13, 9, 12, 30])]
    ids, mask = pairs.padded([row for row, _ in rows])
    starts = torch.tensor([start for _, start in rows])[:, None]
    segments = ((torch.arange(ids.shape[1])[None] >= starts) & (mask == 1)).long()
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "token_type_ids": segments.numpy()}
    with torch.inference_mode():
        expected = ranker(ids, mask, segments).numpy()
    np.testing.assert_allclose(session.run(None, feed)[0][:, 0], expected, atol=2e-4)


def test_nano_is_cut_from_mini_and_its_graph_agrees(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from transformers import BertConfig, BertModel

    for name, value in (("LAYERS", (0, 4)), ("INNER", 16), ("RANK", 32)):
        monkeypatch.setattr(nano, name, value)
    config = BertConfig(**ranker.bert.config.to_dict())
    config.update({"num_hidden_layers": 2, "intermediate_size": 16, "rank": 32, "split": 1})
    small = Ranker(BertModel(config)).eval()
    small.load_state_dict(nano.shrunk(ranker.state_dict()))
    words = ranker.bert.embeddings.word_embeddings.weight
    assert small.projection is not None
    made = small.projection(small.bert.embeddings.word_embeddings.weight)
    torch.testing.assert_close(made, words, atol=1e-4, rtol=0)  # no number of a word is lost at full rank

    weights = {name: value.detach().numpy() for name, value in small.state_dict().items()}
    builder = RankerGraph(Architecture("bert", 2, 32, 4, 16, 60, 40, 2 * LEVELS, 1e-12, 0), weights.__getitem__, "fp32")
    builder.split, builder.rank = 1, 32
    session = onnxruntime.InferenceSession(builder.build().SerializeToString(), providers=["CPUExecutionProvider"])
    row, start = pairs.encode([10, 11, 12], [11, 12, 30], 40)
    ids, mask = pairs.padded([row])
    segments = (torch.arange(len(row))[None] >= start).long()
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "token_type_ids": segments.numpy()}
    with torch.inference_mode():
        expected = small(ids, mask, segments).numpy()
    np.testing.assert_allclose(session.run(None, feed)[0][:, 0], expected, atol=2e-4)


def test_a_group_of_sentences_is_near_by_words_or_by_meaning() -> None:
    import random

    from recipes.mini.sentences import Sentences

    count = 40
    vectors = np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = np.array([[(i + k) % count for k in range(1, 13)] for i in range(count)])
    texts = ([f"句{i}" for i in range(count)], [f"sentence {i}" for i in range(count)])
    sentences = Sentences(texts, vectors, (near, near), near)
    for seed in range(20):
        query, found, target = sentences.group(random.Random(seed), 6)
        assert len(found) == 6
        assert query not in found
        assert float(target.sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_saved_ranker_loads(ranker: Ranker, tmp_path: Path) -> None:
    class NoTokenizer:
        def save_pretrained(self, folder: Path) -> None: ...

    ranker.save(tmp_path, NoTokenizer())
    assert json.loads((tmp_path / "config.json").read_text())["type_vocab_size"] == 2 * LEVELS
    again = load(tmp_path).eval()
    row = [pairs.encode([10, 11], [11, 12, 13], 40)]
    with torch.inference_mode():
        assert pairs.score_rows(again, row).tolist() == pairs.score_rows(ranker, row).tolist()


def test_the_window_shares_most_with_the_query() -> None:
    import random
    from types import SimpleNamespace

    tokens = pairs.Tokens(SimpleNamespace(backend_tokenizer=SimpleNamespace(no_truncation=int, no_padding=int)))
    document = [*range(100, 200), 7, 8, 9, *range(200, 260)]
    window = tokens.window([7, 8, 9], document, 30, random.Random(1))
    assert len(window) == 30
    assert {7, 8, 9} & set(window)
