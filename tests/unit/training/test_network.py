from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rerankd import Reranker
from rerankd.errors import UnsupportedModelError
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.training.network import LateInteractionNetwork, cross_encoder, logits_of, open_network
from tests.families.modernbert import write_reranker
from tests.unit.training.material import animals, files_of, late_interaction_model

pytestmark = pytest.mark.slow

PAIRS = [("what does the panda eat", text) for text in ("bamboo", "the tiger eats deer", "")] + [("熊猫", "竹子 " * 30)]


@pytest.fixture(scope="module", params=["xlmr", "bert", "late"])
def model(request: pytest.FixtureRequest, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "late":
        return late_interaction_model(bert, tmp_path_factory.mktemp("late") / "model")
    folder: Path = request.getfixturevalue(request.param)
    return folder


def test_pairs_are_cut_as_they_are_when_served(model: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    length, files = 24, files_of(model)
    network = open_network(files, length)
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    pairs = [pair for query, text in mixed_pairs[:20] for pair in ((query, text), (query, text[: len(text) // 2]))]
    features = network.preprocess(pairs)
    assert features["input_ids"].shape[1] <= length
    for position, (query, text) in enumerate(pairs):
        served = encoder.encode(query, [text], TruncationOptions(length))[0][0]
        size = int(features["attention_mask"][position].sum())
        assert features["input_ids"][position, :size].tolist() == served.ids.tolist()
        if "token_type_ids" in features:
            kinds = features["token_type_ids"][position, :size]
            assert kinds.tolist() == [int(n >= served.document_start) for n in range(size)]


def test_it_scores_as_it_is_served(model: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    pairs = PAIRS + mixed_pairs[:12]
    served = Reranker(str(model), device="cpu", max_length=100).score(pairs, activation="none")
    logits = logits_of(open_network(files_of(model), 100), pairs)
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.numpy(), served, atol=1e-3)


def test_scores_do_not_depend_on_the_pairs_before(model: Path) -> None:
    network = open_network(files_of(model), 64)
    pairs = [
        ("熊猫", "竹子"),
        ("熊猫", "老虎"),
        ("熊猫吃", "竹子"),
        ("what", "竹子"),
        ("熊猫", "竹子"),
        ("熊猫", "竹子"),
    ]
    together = logits_of(network, pairs)
    alone = torch.cat([logits_of(network, [pair]) for pair in pairs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_gradients_with_checkpointing_are_the_same(model: Path) -> None:
    pairs = [(one.query, text) for one in animals(3) for text in one.negatives]
    gradients = []
    for saving in (False, True):
        network = open_network(files_of(model), 64)
        if saving:
            network.enable_gradient_checkpointing()
        network.train()
        torch.manual_seed(5)  # of dropout
        network.logits(network.preprocess(pairs)).square().mean().backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 20
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5)


def test_the_trainers_model_gives_logits(model: Path) -> None:
    network = open_network(files_of(model), 64)
    scores = cross_encoder(network, "cpu").predict(PAIRS, show_progress_bar=False)
    np.testing.assert_allclose(np.asarray(scores).reshape(-1), logits_of(network, PAIRS).numpy(), atol=1e-4)


def test_pieces_of_late_interaction_do_not_learn(bert: Path, tmp_path: Path) -> None:
    network = open_network(files_of(late_interaction_model(bert, tmp_path / "m")), 64)
    assert isinstance(network, LateInteractionNetwork)
    frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
    assert frozen == ["model.encoder.bert.embeddings.word_embeddings.weight"]


def test_a_compiled_cross_encoder_is_the_network_it_was_compiled_from(
    checkpoint: Path, compiled: dict[str, Path]
) -> None:
    before, after = (open_network(files_of(path), 64) for path in (checkpoint, compiled["fp32"]))
    np.testing.assert_allclose(logits_of(after, PAIRS).numpy(), logits_of(before, PAIRS).numpy(), atol=1e-5)


def test_a_family_without_training_is_refused_before_anything_is_loaded(tmp_path: Path, texts: list[str]) -> None:
    files = files_of(write_reranker(tmp_path / "m", texts, "chain", by_library=False))
    with pytest.raises(
        UnsupportedModelError, match="the family modernbert, which rerankd does not train. Train a model"
    ):
        open_network(files, 24)
