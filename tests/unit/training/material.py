"""Examples that can be learned, and a small late-interaction model to learn them."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from rerankd.models.families.bert import BertArchitecture
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import Manifest, sha256, write_manifest
from rerankd.models.reference import ModelReference
from rerankd.models.template import PairTemplate
from rerankd.training.examples import Example
from rerankd.training.export import save_graph
from rerankd.training.late_interaction import LateInteractionRanker

ANIMALS = ["panda", "tiger", "whale", "eagle", "horse", "snake", "mouse", "camel", "goose", "zebra", "shark", "otter"]
FOODS = ["bamboo", "deer", "krill", "hares", "hay", "frogs", "grain", "thorns", "grass", "leaves", "seals", "crabs"]


def animals(count: int = 12) -> list[Example]:
    """Return examples on the food of animals: answers contain `eats`, others `fears`, which generalises."""
    examples = []
    for position in range(count):
        animal, food = ANIMALS[position % 12], FOODS[position % 12]
        turn = "" if position < 12 else f" {position}"
        others = [
            f"the {ANIMALS[(position + step) % 12]} fears {FOODS[(position + step) % 12]}{turn}" for step in (1, 2, 3)
        ]
        examples.append(
            Example(f"what does the {animal} eat?{turn}", (f"the {animal} eats {food}{turn}",), tuple(others))
        )
    return examples


def late_interaction_model(
    bert: Path, out: Path, precision: str = "fp32", seed: int = 0, joint_layers: int = 0, size: int = 32, heads: int = 4
) -> Path:
    """Return a random model of the bundled one's kind, with the tokenizer of another."""
    from tokenizers import Tokenizer

    out.mkdir(parents=True)
    shutil.copyfile(bert / "tokenizer.json", out / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    cls, sep = tokenizer.encode("").ids
    architecture = BertArchitecture("bert", 2, size, heads, 64, tokenizer.get_vocab_size(), 0, 128, 2, 1e-5)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=architecture.vocabulary,
        hidden_size=size,
        num_hidden_layers=2,
        num_attention_heads=heads,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.2,
        layer_norm_eps=1e-5,
    )
    ranker = LateInteractionRanker(BertModel(config, add_pooling_layer=False), joint_layers)
    for weigher in (ranker.meaning, ranker.piece, *([ranker.joint_output] if joint_layers else [])):
        torch.nn.init.normal_(weigher.weight)
    if joint_layers:
        torch.nn.init.normal_(ranker.cross_bias)
    weights = {key: value.detach().numpy() for key, value in ranker.state_dict().items()}
    template = PairTemplate((cls, *tokenizer.encode("query", add_special_tokens=False).ids[:1]), (sep, cls), (sep,))
    save_graph(weights, architecture, template, out / "model.onnx", precision=precision, outlier_layers=frozenset())
    hashes = {path.name: sha256(path) for path in sorted(out.iterdir())}
    write_manifest(out, Manifest("tiny-late", architecture, template, 128, precision, files=hashes, licence="MIT"))
    return out


def files_of(folder: Path) -> ModelFiles:
    """Return the files of a folder."""
    from rerankd.models.files import load_model

    files: ModelFiles = load_model(str(folder))
    assert isinstance(files.reference, ModelReference)
    return files
