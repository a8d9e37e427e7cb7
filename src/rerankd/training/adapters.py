"""LoRA adapters (Hu et al. 2021) through peft: add, save, merge and verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from rerankd.errors import VerificationError
from rerankd.training.network import Network, logits_of

MAX_DELTA = 1e-3


@dataclass(frozen=True, slots=True)
class MergeReport:
    """Comparison of a merged model with its adapter.

    Attributes:
        pairs: number of pairs compared.
        largest: largest absolute difference of two logits.
        head_unchanged: True if every weight outside the adapted layers is bit-identical.
    """

    pairs: int
    largest: float
    head_unchanged: bool

    @property
    def passed(self) -> bool:
        """True if the merged model may be used."""
        return self.head_unchanged and self.largest < MAX_DELTA


def add_adapters(network: Network, *, rank: int, alpha: int, seed: int) -> int:
    """Add adapters to the encoder's linear layers and freeze all other weights.

    Returns:
        Number of trainable weights.
    """
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=network.adapted_layers, lora_dropout=0.0)
    network.model = get_peft_model(network.model, config)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def save_adapters(network: Network, folder: Path) -> None:
    """Save the adapters in peft's format."""
    assert isinstance(network.model, PeftModel)  # noqa: S101  a programming error, not an input error
    network.model.save_pretrained(str(folder), save_embedding_layers=False)


def merge_adapters(network: Network, pairs: Sequence[tuple[str, str]]) -> MergeReport:
    """Merge the adapters into the weights, and verify that nothing else changed.

    Args:
        network: network with adapters; without them afterwards.
        pairs: pairs to compare both on.

    Raises:
        VerificationError: the merged model scores differently, or its head changed.
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
    report = MergeReport(len(pairs), float((after - before).abs().max()), unchanged)
    if not unchanged:
        raise VerificationError(
            "Merging changed weights outside the adapted layers.", hint="Report this; the adapter is kept."
        )
    if not report.passed:
        raise VerificationError(
            f"The merged model differs from its adapter by {report.largest:.5f} (at most {MAX_DELTA:g}).",
            hint="Report this; the adapter is kept.",
        )
    return report
