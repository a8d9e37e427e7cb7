"""The language model with a shared prefix, compared with transformers on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.mini.causal import Causal

PREFIX = [5, 9, 2, 7, 7, 1]
ROWS = [[3, 4, 8], [11, 6, 2, 9, 10], [12]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(4)
    config = Qwen2Config(
        vocab_size=60,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    model: Any = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    target = tmp_path_factory.mktemp("causal")
    model.save_pretrained(target)
    return target


@pytest.fixture
def causal(folder: Path) -> Causal:
    return Causal(folder, dtype=torch.float32)


@pytest.fixture
def reference(folder: Path) -> Any:
    from transformers import Qwen2ForCausalLM

    model: Any = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@torch.inference_mode()
def test_last_states_are_those_of_transformers_without_a_shared_prefix(causal: Causal, reference: Any) -> None:
    states = causal.last_states(ROWS, causal.prefix(PREFIX))
    for state, row in zip(states, ROWS, strict=True):
        expected = reference.model(torch.tensor([PREFIX + row])).last_hidden_state[0, -1]
        torch.testing.assert_close(state, expected, atol=1e-4, rtol=1e-4)


def test_the_likeliest_token_is_written_as_transformers_writes_it(causal: Causal, reference: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    written = causal.write(ROWS, causal.prefix(PREFIX), 6, end=59, generator=generator, temperature=1e-4)
    for text, row in zip(written, ROWS, strict=True):
        start = torch.tensor([PREFIX + row])
        expected = reference.generate(start, max_new_tokens=6, do_sample=False, eos_token_id=59, pad_token_id=59)
        assert text == expected[0, start.shape[1] :].tolist()


def test_writing_ends_at_the_end_token_and_differs_by_seed(causal: Causal) -> None:
    prefix = causal.prefix(PREFIX)
    one, other = (
        causal.write(ROWS, prefix, 40, end=3, generator=torch.Generator().manual_seed(seed), temperature=3.0)
        for seed in (1, 2)
    )
    assert one != other
    assert all(3 not in text for text in one + other)
