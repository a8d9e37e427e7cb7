"""Smaller networks made from a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import BertConfig, BertModel

from rerankd.training.late_interaction import LateInteractionRanker


@dataclass(eq=False)
class Student:
    """A network that learns from a teacher.

    Attributes:
        ranker: the network.
        rate: learning rate of its body, relative to the teacher's.
        lift: projection of its states to the teacher's width; None if the widths are equal.
        pieces: True if its embeddings are trained.
    """

    ranker: LateInteractionRanker
    rate: float
    lift: torch.nn.Linear | None = None
    pieces: bool = False


def shortened(teacher: LateInteractionRanker, layers: Sequence[int], joint_layers: int = 0) -> LateInteractionRanker:
    """Return a ranker with some of the layers of a teacher without joint layers.

    Args:
        teacher: ranker that query and document pass separately.
        layers: numbers of the layers.
        joint_layers: number of layers that read both texts together.
    """
    config = BertConfig(**{**teacher.encoder.bert.config.to_dict(), "num_hidden_layers": len(layers)})
    student = LateInteractionRanker(BertModel(config, add_pooling_layer=False), joint_layers)
    weights = teacher.state_dict()
    kept = {name: value for name, value in student.state_dict().items() if "joint" in name or "cross" in name}
    kept |= {name: value for name, value in weights.items() if ".layer." not in name}
    for new, old in enumerate(layers):
        prefix = f"encoder.bert.encoder.layer.{old}."
        target = f"encoder.bert.encoder.layer.{new}."
        kept |= {
            target + name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
        }
    student.load_state_dict(kept)
    return student


def narrowed(
    teacher: LateInteractionRanker, layers: int, hidden: int, heads: int
) -> tuple[LateInteractionRanker, torch.nn.Linear]:
    """Return a small ranker that begins with the teacher's embeddings, projected on their principal directions."""
    old = teacher.encoder.bert
    config = BertConfig(
        **{
            **old.config.to_dict(),
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
        }
    )
    student = LateInteractionRanker(BertModel(config, add_pooling_layer=False))
    words = old.embeddings.word_embeddings.weight.detach().float()
    centre = words.mean(0)
    _, vectors = torch.linalg.eigh((words - centre).T @ (words - centre))
    axes = vectors[:, -hidden:]
    scale = 0.05 / ((words - centre) @ axes).std()
    new = student.encoder.bert.embeddings
    with torch.no_grad():
        new.word_embeddings.weight.copy_((words - centre) @ axes * scale)
        new.position_embeddings.weight.copy_(old.embeddings.position_embeddings.weight.detach().float() @ axes * scale)
        new.token_type_embeddings.weight.zero_()
    lift = torch.nn.Linear(hidden, old.config.hidden_size)
    with torch.no_grad():
        lift.weight.copy_(axes)
        lift.bias.zero_()
    return student, lift
