"""Make the model of a few kilobytes: a random BERT, compiled by the program itself. Run once; its files are kept."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.recorded.inputs import DOCUMENTS, QUERIES, TINY

SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 1,
}


def make() -> None:
    """Write `fixtures/tiny` anew."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification

    with tempfile.TemporaryDirectory() as work:
        checkpoint = Path(work, "tiny")
        checkpoint.mkdir()
        trainer = BertWordPieceTokenizer(lowercase=True)
        trainer.train_from_iterator([*QUERIES, *DOCUMENTS], vocab_size=250, min_frequency=1, show_progress=False)
        tokenizer = trainer._tokenizer
        cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
        )
        tokenizer.save(str(checkpoint / "tokenizer.json"))
        settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 256}
        (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            max_position_embeddings=256,
            **SHAPE,
        )
        model: Any = BertForSequenceClassification(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
            model.classifier.weight.mul_(8)
        model.eval().save_pretrained(checkpoint)
        command = [sys.executable, "-m", "rerankd", "models", "compile", str(checkpoint), "--precision", "fp32"]
        subprocess.run([*command, "--out", str(TINY), "--force"], check=True, cwd=work)


if __name__ == "__main__":
    make()
