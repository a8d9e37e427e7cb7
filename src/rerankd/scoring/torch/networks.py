"""Network of the torch backend for each family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BertArchitecture
from rerankd.models.families.deberta import DebertaArchitecture
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.families.gte import GteArchitecture
from rerankd.models.families.modernbert import ModernBertArchitecture
from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch
from rerankd.scoring.torch.bert import BertNetwork
from rerankd.scoring.torch.deberta import DebertaNetwork
from rerankd.scoring.torch.decoder import DecoderNetwork
from rerankd.scoring.torch.gte import GteNetwork
from rerankd.scoring.torch.modernbert import ModernBertNetwork


class PackedNetwork(Protocol):
    """Network that computes the logits of packed sequences."""

    def logits(self, batch: PackedBatch) -> Tensor:
        """Return the logits of the sequences, shape (sequences,), float32."""
        ...


NETWORKS: Mapping[type[Architecture], Callable[[Any, DeviceWeights], PackedNetwork]] = {
    BertArchitecture: BertNetwork,
    ModernBertArchitecture: ModernBertNetwork,
    DebertaArchitecture: DebertaNetwork,
    GteArchitecture: GteNetwork,
    DecoderArchitecture: DecoderNetwork,
}


def open_network(architecture: Architecture, weights: DeviceWeights) -> PackedNetwork:
    """Return the network of an architecture with these weights."""
    return NETWORKS[type(architecture)](architecture, weights)
