from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.training.examples import Example
from rerankd.training.groups import training_groups
from rerankd.training.losses import LOSSES, POSITIVE_LABEL, distillation_labels, labels_of, loss_of
from rerankd.training.network import cross_encoder, open_network
from rerankd.training.options import TrainOptions
from tests.unit.training.material import animals, files_of

pytestmark = pytest.mark.slow

SCORED = Example("q", ("a",), ("b", "c"), (3.0,), (1.0, -2.0))


def test_labels() -> None:
    assert labels_of("softmax", SCORED, 0, [1, 0]) == [POSITIVE_LABEL, 0.0, 0.0]
    assert labels_of("pairwise", SCORED, 0, [0]) == [1.0, 0.0]
    assert labels_of("lambda", SCORED, 0, [0]) == [1.0, 0.0]
    assert labels_of("distil", SCORED, 0, [1, 0]) == [3.0, -2.0, 1.0]
    with pytest.raises(InvalidRequestError, match="needs pos_scores"):
        labels_of("distil", Example("q", ("a",), ("b",)), 0, [0])


@given(
    logits=st.lists(st.floats(-50, 50), min_size=2, max_size=9),
    answer=st.integers(0, 8),
    weight=st.floats(0, 0.99),
)
def test_distillation_labels_are_a_distribution_between_the_answer_and_the_base(
    logits: list[float], answer: int, weight: float
) -> None:
    answer %= len(logits)
    labels = [POSITIVE_LABEL if index == answer else 0.0 for index in range(len(logits))]
    mixed = torch.tensor(distillation_labels(labels, logits, weight), dtype=torch.float64).exp()
    base = torch.tensor(logits, dtype=torch.float64).softmax(0)
    expected = weight * base
    expected[answer] += 1 - weight
    torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=1e-5)


def test_an_unknown_loss(bert: Path) -> None:
    model = cross_encoder(open_network(files_of(bert), 64), "cpu")
    with pytest.raises(InvalidRequestError, match="Unknown loss 'hinge'"):
        loss_of("hinge", model, 8)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_lowers_what_is_wrong(bert: Path, name: str) -> None:
    torch.manual_seed(0)
    network = open_network(files_of(bert), 64)
    model = cross_encoder(network, "cpu")
    loss = loss_of(name, model, 8)
    examples = [
        Example(e.query, e.positives, e.negatives, (2.0,), (-1.0, -1.5, -2.0)) for e in animals(4)
    ]  # scores are read by `distil` only
    rows = training_groups(examples, (), TrainOptions(loss=name), 1)
    inputs = [[row["query"] for row in rows], [row["docs"] for row in rows]]
    labels = [torch.tensor(row["label"]) for row in rows]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    seen = []
    network.eval()  # no dropout: what is measured is what is learned
    for _ in range(12):
        value = loss(inputs, labels)
        seen.append(float(value.detach()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert min(seen[-3:]) < 0.9 * seen[0]


def test_the_group_loss_is_cross_entropy_of_the_answer(bert: Path) -> None:
    network = open_network(files_of(bert), 64).eval()
    example = animals(1)[0]
    texts = [*example.positives, *example.negatives]
    loss = loss_of("softmax", cross_encoder(network, "cpu"), 2)(
        [[example.query], [texts]], [torch.tensor([POSITIVE_LABEL, 0, 0, 0])]
    )
    logits = network.logits(network.preprocess([(example.query, text) for text in texts]))
    assert float(loss.detach()) == pytest.approx(float(-logits.log_softmax(0)[0].detach()), abs=1e-4)
