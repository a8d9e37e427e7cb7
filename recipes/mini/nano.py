"""The smaller sibling: two of mini's layers, a narrower feed-forward, and words of `RANK` numbers each.

Everything starts from mini: the word table by its singular vectors, the first and the last layer, and of their inner
units those that weigh most. It then learns from mini's own scores (`train.py --larger`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import BertModel, BertTokenizerFast

from .model import Ranker, load

LAYERS = (0, 5)
INNER = 1024
RANK = 80
SPLIT = 1


def shrink(start: Path, out: Path) -> None:
    """Write an untrained nano made from the ranker in `start`."""
    large = load(start)
    config = large.bert.config
    config.update({"num_hidden_layers": len(LAYERS), "intermediate_size": INNER, "rank": RANK, "split": SPLIT})
    small = Ranker(BertModel(config))
    small.load_state_dict(shrunk(large.state_dict()))
    small.save(out, BertTokenizerFast.from_pretrained(start))


def shrunk(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mini's weights cut down to nano's shape."""
    kept = {name: value for name, value in weights.items() if ".layer." not in name}
    for new, old in enumerate(LAYERS):
        layer = {
            name.partition(f".layer.{old}.")[2]: value for name, value in weights.items() if f".layer.{old}." in name
        }
        size = layer["intermediate.dense.weight"].norm(dim=1) * layer["output.dense.weight"].norm(dim=0)
        units = size.topk(INNER).indices.sort().values
        layer["intermediate.dense.weight"] = layer["intermediate.dense.weight"][units]
        layer["intermediate.dense.bias"] = layer["intermediate.dense.bias"][units]
        layer["output.dense.weight"] = layer["output.dense.weight"][:, units]
        kept |= {f"bert.encoder.layer.{new}.{name}": value for name, value in layer.items()}
    words = weights["bert.embeddings.word_embeddings.weight"]
    left, sizes, right = torch.linalg.svd(words, full_matrices=False)
    kept["bert.embeddings.word_embeddings.weight"] = left[:, :RANK] * sizes[:RANK]
    kept["projection.weight"] = right[:RANK].T.contiguous()
    return kept


def main() -> None:
    """Shrink one ranker."""
    parser = argparse.ArgumentParser(description="Make an untrained nano from a trained mini.")
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    shrink(arguments.start, arguments.out)


if __name__ == "__main__":
    main()
