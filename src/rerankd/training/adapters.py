"""LoRA: few weights beside the frozen ones (Hu et al. 2021), put in, merged, and checked, through peft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from rerankd.errors import VerificationError
from rerankd.training.network import Network, logits_of

PARITY = 1e-3


@dataclass(frozen=True, slots=True)
class Parity:
    """A merged model against its adapter.

    Attributes:
        pairs: compared.
        largest: difference of a logit.
        head_unchanged: whether every weight outside the adapted layers is the same, bit for bit.
    """

    pairs: int
    largest: float
    head_unchanged: bool

    @property
    def passed(self) -> bool:
        """Whether the merged model may be used."""
        return self.head_unchanged and self.largest < PARITY


def add_adapters(network: Network, rank: int, alpha: int, seed: int) -> int:
    """Put adapters on the encoder's linear layers and freeze all else.

    Returns:
        How many weights learn.
    """
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=network.body, lora_dropout=0.0)
    network.model = get_peft_model(network.model, config)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def save_adapters(network: Network, folder: Path) -> None:
    """Write the adapters alone, as peft reads them."""
    assert isinstance(network.model, PeftModel)  # noqa: S101  a caller's mistake, no input's
    network.model.save_pretrained(str(folder), save_embedding_layers=False)


def merge(network: Network, pairs: Sequence[tuple[str, str]]) -> Parity:
    """Add the adapters to the weights they stand beside, and prove that nothing else changed.

    Args:
        network: with adapters; without them afterwards.
        pairs: that both are compared on.

    Raises:
        VerificationError: the merged model scores otherwise, or its head changed.
    """
    assert isinstance(network.model, PeftModel)  # noqa: S101
    before = logits_of(network, pairs)
    kept = {
        name.removeprefix("base_model.model."): value.clone()
        for name, value in network.model.state_dict().items()
        if "lora_" not in name and ".base_layer." not in name
    }
    network.model = network.model.merge_and_unload()
    after = logits_of(network, pairs)
    merged = network.model.state_dict()
    unchanged = bool(kept) and all(torch.equal(value, merged[name]) for name, value in kept.items())
    parity = Parity(len(pairs), float((after - before).abs().max()), unchanged)
    if not unchanged:
        raise VerificationError(
            "Merging changed weights beside the adapted layers.", hint="Report this; the adapter is kept."
        )
    if not parity.passed:
        raise VerificationError(
            f"The merged model differs from its adapter by {parity.largest:.5f} (at most {PARITY:g}).",
            hint="Report this; the adapter is kept.",
        )
    return parity
