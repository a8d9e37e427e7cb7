"""Random-weight XLM-RoBERTa rerankers of named shapes; speed does not depend on the weights.

With `shared/` beside the checkout they are made by its `bench/make_model.py`, with the real XLM-R tokenizer. Without
it they are made here, with a small tokenizer trained on the bundled texts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rerankd.demo import load_traps

SHARED = Path(__file__).parents[2] / "shared"
SHAPES: dict[str, dict[str, Any]] = {
    "mini": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "m3": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
VOCABULARY = 250_002


def make_checkpoint(shape: str, folder: Path) -> Path:
    """Return the folder of a random checkpoint of that shape, which is made on the first call."""
    out = folder / shape
    if (out / "model.safetensors").exists():
        return out
    script = SHARED / "bench" / "make_model.py"
    if script.exists():
        subprocess.run([sys.executable, script, "--shape", shape, "--out", out], check=True, stdout=sys.stderr)
    else:
        _make(shape, out)
    return out


def train_xlmr_tokenizer(texts: list[str], out: Path) -> int:
    """Train a tokenizer of XLM-R's kind on `texts`, write it to `out`, and return its size."""
    from tokenizers import SentencePieceUnigramTokenizer, Tokenizer
    from tokenizers.processors import TemplateProcessing

    trainer = SentencePieceUnigramTokenizer()
    special: list[Any] = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer.train_from_iterator(
        iter(texts), vocab_size=2000, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer: Tokenizer = trainer._tokenizer
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(out / "tokenizer.json"))
    # transformers would build a tokenizer of XLM-R's own class anew from the pieces, with other rules.
    write_xlmr_settings(out, "PreTrainedTokenizerFast")
    return tokenizer.get_vocab_size()


def write_xlmr_settings(out: Path, tokenizer_class: str = "XLMRobertaTokenizerFast") -> None:
    """Write the `tokenizer_config.json` that transformers reads."""
    names = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    settings = {f"{kind}_token": token for kind, token in names.items()}
    (out / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": tokenizer_class}))


def _make(shape: str, out: Path) -> None:
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    out.mkdir(parents=True, exist_ok=True)
    texts = [text for trap in load_traps() for text in (trap.query, *trap.documents)]
    train_xlmr_tokenizer(texts, out)
    torch.manual_seed(0)
    fixed: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 8194,
        "type_vocab_size": 1,
        "num_labels": 1,
    }
    model = XLMRobertaForSequenceClassification(XLMRobertaConfig(**fixed, **SHAPES[shape]))
    with torch.no_grad():
        model.classifier.out_proj.weight.mul_(50)
    model.save_pretrained(out)


def make_compiled(shape: str, precision: str, folder: Path) -> Path:
    """Return the folder of the compiled checkpoint, which is made on the first call."""
    from rerankd.compiler.compile import CompileOptions, compile_model
    from rerankd.models.files import load_model

    out = folder / f"{shape}-{precision}"
    if not out.exists():
        source = load_model(str(make_checkpoint(shape, folder)))
        # Random weights agree badly in int8 by nature; only their speed is of interest.
        compile_model(
            source, out, CompileOptions(precision, waive=True), lambda step: print(f"  {step}", file=sys.stderr)
        )
    return out


def executed_flops(shape: str, lengths: list[int]) -> float:
    """Return the floating-point operations of rerankd's matrix products for sequences of these lengths.

    The last layer computes query, output and feed-forward for one token only, and only that is counted.
    """
    config = SHAPES[shape]
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    total = 0.0
    for length in lengths:
        full = length * (8 * hidden * hidden + 4 * hidden * inner) + 4 * length * length * hidden
        last = length * 4 * hidden * hidden + 4 * hidden * hidden + 4 * hidden * inner + 4 * length * hidden
        total += (layers - 1) * full + last + 2 * hidden * hidden
    return total
