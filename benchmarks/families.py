"""Speed of ModernBERT's and Qwen3-Reranker's shapes: `python -m benchmarks.families`.

Random weights; sentence-transformers reads the same folders. Contenders answer the same requests in turn, each in a
process of its own. Requests of the causal shape begin with the same prompt and query, which rerankd computes once for
all documents of a batch; the rows `one by one` send each document alone, so that nothing is shared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, workload
from benchmarks.contenders import Answer, Contender, Worker
from benchmarks.machine import machine
from rerankd._common.processor import HALF_PRECISION_FLAGS, cpu_flags, usable_cores
from rerankd.models.files import load_model
from rerankd.scoring.native import library

SHAPES: dict[str, dict[str, Any]] = {
    "modernbert-base": {
        "hidden_size": 768,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "intermediate_size": 1152,
        "classifier_pooling": "mean",
        "max_position_embeddings": 8192,
    },
    "qwen3-0.6b": {
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
}
VOCABULARY = {"modernbert-base": 50_368, "qwen3-0.6b": 151_669}
NATIVE = ("bf16", "int8")
_PIECES = 8000
_SPECIAL = {
    "modernbert-base": ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"],
    "qwen3-0.6b": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"],
}
# The published prompt of Qwen3-Reranker, in the form that sentence-transformers saves.
_CHAT_TEMPLATE = (
    "{{- '<|im_start|>system\\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\\n<|im_start|>user\\n\' -}}'
    "{{- '<Instruct>: Given a web search query, retrieve relevant passages that answer the query\\n' -}}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'query' -%}{{- '<Query>: ' + message.content + '\\n' -}}"
    "{%- elif message.role == 'document' -%}{{- '<Document>: ' + message.content -}}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
)


def make_checkpoint(shape: str, folder: Path, texts: Sequence[str]) -> Path:
    """Return the folder of a random checkpoint, which is made on the first call.

    Args:
        shape: name of the shape.
        folder: folder of the models.
        texts: texts that the tokenizer is trained on.
    """
    out = folder / shape
    if (out / "made").exists():
        return out
    out.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(shape, out, texts)
    (_write_encoder if shape.startswith("modernbert") else _write_causal)(shape, out)
    (out / "made").touch()
    return out


def _write_tokenizer(shape: str, out: Path, texts: Sequence[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_PIECES,
        show_progress=False,
        special_tokens=_SPECIAL[shape],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([*texts, *["yes\nno\n"] * 100], trainer)
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192}
    if shape.startswith("modernbert"):
        names = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]", "unk": "[UNK]"}
        settings |= {f"{kind}_token": token for kind, token in names.items()}
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
        )
    else:
        settings |= {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "padding_side": "left"}
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_encoder(shape: str, out: Path) -> None:
    import torch
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    torch.manual_seed(0)
    tokens: dict[str, Any] = {
        "pad_token_id": 2,
        "cls_token_id": 0,
        "sep_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    config: Any = ModernBertConfig(vocab_size=VOCABULARY[shape], **tokens, **SHAPES[shape])
    config.num_labels = 1
    ModernBertForSequenceClassification(config).save_pretrained(out)


def _write_causal(shape: str, out: Path) -> None:
    import tempfile

    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from tokenizers import Tokenizer
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        Qwen3ForCausalLM(Qwen3Config(vocab_size=VOCABULARY[shape], pad_token_id=0, **SHAPES[shape])).save_pretrained(
            source
        )
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (source / name).write_bytes((out / name).read_bytes())
        (source / "chat_template.jinja").write_text(_CHAT_TEMPLATE)
        ids: list[Any] = [Tokenizer.from_file(str(out / "tokenizer.json")).token_to_id(word) for word in ("yes", "no")]
        options = {"chat_template": {"add_generation_prompt": True}}
        transformer = Transformer(str(source), transformer_task="text-generation", processing_kwargs=options)
        CrossEncoder(modules=[transformer, LogitScore(*ids)], device="cpu").save_pretrained(str(out))


def contenders(shape: str, checkpoint: Path, folder: Path) -> list[Contender]:
    """Return the contenders of a shape; compiled models are made on the first call."""
    half = bool(HALF_PRECISION_FLAGS["bf16"] & cpu_flags())
    precisions = ["fp32", "bf16"] if half else ["fp32"]
    made = [
        Contender(f"sentence-transformers {p}", "sentence-transformers", checkpoint, precision=_own(p))
        for p in precisions
    ]
    made += [Contender(f"rerankd torch {p}", "rerankd", checkpoint, precision=p, backend="torch") for p in precisions]
    if library.unavailable() is None and library.unsupported(load_model(str(checkpoint)).manifest.architecture) is None:
        made += [Contender(f"rerankd native {p}", "rerankd", checkpoint, precision=p, backend="native") for p in NATIVE]
    for precision in ("fp32", "int8"):
        compiled = _compiled(checkpoint, folder / f"{shape}-{precision}", precision)
        made.append(Contender(f"rerankd onnx {precision}", "rerankd", compiled, backend="onnx"))
    return made


def _own(precision: str) -> str | None:
    """Return a precision as the contender of sentence-transformers names it."""
    return None if precision == "fp32" else precision


def _compiled(checkpoint: Path, out: Path, precision: str) -> Path:
    from rerankd.compiler.compile import CompileOptions, compile_model

    if not out.exists():
        # Random weights agree badly in int8 by nature; only their speed is of interest.
        options = CompileOptions(precision, waive=True)
        compile_model(load_model(str(checkpoint)), out, options, lambda step: print(f"  {step}", file=sys.stderr))
    return out


def measure(shape: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a shape: medians over requests that all contenders answer in turn."""
    made, texts = workload.requests(arguments.requests + 1, arguments.documents)
    known = [text for query, documents in made for text in (query, *documents)]
    checkpoint = make_checkpoint(shape, arguments.models, known)
    workers = [Worker(one, arguments.threads) for one in contenders(shape, checkpoint, arguments.models)]
    answers: dict[str, list[Answer]] = {worker.contender.name: [] for worker in workers}
    alone: list[float] = []
    shared = f"rerankd torch {'bf16' if 'rerankd torch bf16' in answers else 'fp32'}"
    for turn, (query, documents) in enumerate(made):
        for worker in workers:
            answer = worker.ask(query, documents)
            if turn:  # the first request warms up
                answers[worker.contender.name].append(answer)
            if turn and shape.startswith("qwen") and worker.contender.name == shared:
                alone.append(sum(worker.ask(query, [document]).seconds for document in documents))
        print(f"  {shape}: request {turn} of {arguments.requests}", file=sys.stderr)
    for worker in workers:
        worker.close()
    medians = {name: statistics.median(answer.seconds for answer in own) for name, own in answers.items()}
    best = min(seconds for name, seconds in medians.items() if not name.startswith("rerankd"))
    if alone:
        medians[f"{shared}, one by one"] = statistics.median(alone)
    tokens = max(answer.tokens for own in answers.values() for answer in own) / arguments.documents
    return [
        {
            "contender": name,
            "texts": texts,
            "tokens_per_pair": round(tokens, 1),
            "seconds": round(seconds, 3),
            "pairs_per_second": round(arguments.documents / seconds, 2),
            "to_best_peer": round(best / seconds, 2),
            "peak_megabytes": round(max(a.peak_bytes for a in answers[name]) / 1e6) if name in answers else None,
        }
        for name, seconds in medians.items()
    ]


def main() -> None:
    """Measure, and write `benchmarks/results/families.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--models", type=Path, default=Path("build/bench"), help="folder of the random models")
    arguments = parser.parse_args()
    path = RESULTS / "families.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"shapes": {}}
    conditions = {"documents": arguments.documents, "requests": arguments.requests}
    for shape in arguments.shapes:  # those that are not named keep their rows
        own = {"machine": machine(arguments.threads), **conditions, "rows": measure(shape, arguments)}
        report["shapes"][shape] = own
        for row in own["rows"]:
            print(json.dumps(row))
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Written to {path}.", file=sys.stderr)


if __name__ == "__main__":
    main()
