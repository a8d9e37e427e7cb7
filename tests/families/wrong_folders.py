"""Changes that make a checkpoint no supported reranker, with the sentence and the advice that each deserves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from rerankd.models.refusals import RERANKER

Change = Callable[[Path], object]
EMBEDDING = "sentence_transformers.models."


def config(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def only_config(**values: Any) -> Change:
    return lambda folder: (folder / "config.json").write_text(json.dumps(values))


def without(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def renamed(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)

    return change


def written(name: str, content: bytes | str = b"x") -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def weights(edit: Callable[[dict[str, np.ndarray]], object]) -> Change:
    def change(folder: Path) -> None:
        stored = load_file(folder / "model.safetensors")
        edit(stored)
        save_file(stored, folder / "model.safetensors")

    return change


def called(old: str, new: str) -> Change:
    """Give the weights the names of another family."""

    def edit(stored: dict[str, np.ndarray]) -> None:
        for name in list(stored):
            stored[name.replace(old, new)] = stored.pop(name)

    return weights(edit)


def modules(*kinds: str) -> Change:
    return written("modules.json", json.dumps([{"type": kind} for kind in kinds]))


def labels(*names: str) -> Change:
    return config(id2label=dict(enumerate(names)))


def shards(listed: str, stored: str) -> Change:
    def change(folder: Path) -> None:
        names = list(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").rename(folder / stored)
        index = {"weight_map": dict.fromkeys(names, stored) | {names[0]: listed}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


WRONG: dict[str, tuple[list[Change], str, str]] = {
    "two labels": (
        [labels("no", "yes")],
        "the head has 2 labels; a reranker has one. Its labels are no, yes",
        "num_la",
    ),
    "three labels": (
        [labels("contradiction", "entailment", "neutral")],
        "the head has 3 labels; a reranker has one. These are those of natural language inference",
        "Use a cross-encoder with one label",
    ),
    "base model": ([config(architectures=["BertModel"])], "an encoder without a ranking head", "embedding-model"),
    "pretrained model": (
        [config(architectures=["BertForMaskedLM"])],
        "BertForMaskedLM: this is a pretrained language model that was not trained to rank",
        "fine-tuned from it",
    ),
    "bi-encoder": (
        [
            config(architectures=["BertModel"]),
            modules(f"{EMBEDDING}Transformer", f"{EMBEDDING}Pooling", f"{EMBEDDING}Normalize"),
        ],
        "BertModel with Pooling and Normalize: this is a bi-encoder (an embedding model)",
        "rerankd index --embedding-model",
    ),
    "bi-encoder with a projection": (
        [
            config(architectures=["OtherModel"], model_type="other"),
            modules(*(f"{EMBEDDING}{kind}" for kind in ("Transformer", "Pooling", "Dense", "Normalize"))),
        ],
        "OtherModel with Pooling and Dense and Normalize: this is a bi-encoder (an embedding model)",
        "rerankd index --embedding-model",
    ),
    "sparse encoder": (
        [
            config(architectures=["BertForMaskedLM"]),
            modules("sentence_transformers.sparse_encoder.models.MLMTransformer", "x.SpladePooling"),
        ],
        "this is a sparse encoder (SPLADE)",
        "use a cross-encoder",
    ),
    "ColBERT": ([config(architectures=["HF_ColBERT"])], "HF_ColBERT: this is a ColBERT model", RERANKER),
    "PyLate": (
        [config(architectures=["BertModel"]), modules("pylate.models.ColBERT", "pylate.models.Dense.Dense")],
        "this is a ColBERT model, which gives each token a vector",
        "use a cross-encoder",
    ),
    "monoT5": (
        [config(architectures=["T5ForConditionalGeneration"], model_type="t5", is_encoder_decoder=True)],
        "this is an encoder-decoder (T5, such as monoT5), which writes its answer",
        RERANKER,
    ),
    "another encoder-decoder": (
        [config(architectures=["PegasusModel"], model_type="pegasus", is_encoder_decoder=True)],
        "PegasusModel: this is an encoder-decoder",
        RERANKER,
    ),
    "listwise": (
        [
            config(
                architectures=["JinaForRanking"], model_type="jina", auto_map={"AutoModel": "modeling.JinaForRanking"}
            )
        ],
        "this is a listwise reranker (jina-reranker-v3): the score of a document depends on the other documents",
        "Use a model that scores each document by itself",
    ),
    "gemma": ([config(architectures=["GemmaForCausalLM"], model_type="gemma")], "bge-reranker-v2-gemma", RERANKER),
    "lightweight": (
        [config(architectures=["CostWiseGemmaForCausalLM"], model_type="cost_wise_gemma")],
        "this is bge-reranker-v2.5-gemma2-lightweight, which compresses tokens",
        "Use BAAI/bge-reranker-v2-m3",
    ),
    "layerwise": (
        [config(architectures=["LayerWiseMiniCPMForCausalLM"], model_type="minicpm")],
        "this is bge-reranker-v2-minicpm-layerwise",
        "Use BAAI/bge-reranker-v2-m3",
    ),
    "vision-language": (
        [config(architectures=["JinaVLForRanking"], model_type="qwen2_vl")],
        "this is a vision-language model, which ranks pictures of pages",
        "Rank the pages' text",
    ),
    "vision by its configuration": (
        [config(architectures=["SomeForRanking"], model_type="some", vision_config={})],
        "this is a vision-language model",
        "Rank the pages' text",
    ),
    "remote code": (
        [
            config(
                architectures=["OwnRanker"],
                model_type="own",
                auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnRanker"},
            )
        ],
        "OwnRanker of type 'own' is computed by code of its own repository (OwnRanker), which rerankd never runs",
        RERANKER,
    ),
    "another type": (
        [config(architectures=["RobertaForSequenceClassification"], model_type="roberta")],
        "model type 'roberta' is not supported (RobertaForSequenceClassification)",
        RERANKER,
    ),
    "question answering": (
        [config(architectures=["BertForQuestionAnswering"])],
        "this is a model that marks answers in a text",
        RERANKER,
    ),
    "configuration of a tokenizer": (
        [only_config(tokenizer_class="BertTokenizerFast", model_max_length=512)],
        "config.json is not a model's but a tokenizer's (tokenizer_config.json)",
        "that lies beside the weights",
    ),
    "configuration of a pooling layer": (
        [only_config(word_embedding_dimension=64, pooling_mode_mean_tokens=True)],
        "config.json is not a model's but that of a pooling layer",
        "that lies beside the weights",
    ),
    "GGUF beside a configuration": (
        [without("model.safetensors"), written("model-q4_k_m.gguf", b"GGUF")],
        "the weights are GGUF (model-q4_k_m.gguf), which llama.cpp reads",
        "Use the repository with model.safetensors that it was converted from",
    ),
    "only GGUF": (
        [without("model.safetensors", "config.json", "tokenizer.json"), written("a.gguf", b"GGUF")],
        "the weights are GGUF (a.gguf)",
        "Use the repository with model.safetensors",
    ),
    "pickle": (
        [renamed("model.safetensors", "pytorch_model.bin")],
        "the weights are a pickle (pytorch_model.bin), which can run code and is never loaded",
        "Use a revision with model.safetensors, or convert it",
    ),
    "sharded pickle": (
        [renamed("model.safetensors", "pytorch_model-00001-of-00002.bin")],
        "the weights are a pickle (pytorch_model-00001-of-00002.bin)",
        "Use a revision with model.safetensors",
    ),
    "ONNX of another tool": (
        [renamed("model.safetensors", "onnx/model.onnx")],
        "the weights are an ONNX export of another tool (onnx/model.onnx)",
        "Use the folder with model.safetensors that it was exported from",
    ),
    "ONNX of another tool in the folder": (
        [renamed("model.safetensors", "model.onnx")],
        "the weights are an ONNX export of another tool (model.onnx)",
        "rerankd models compile makes its own ONNX",
    ),
    "TensorFlow": (
        [renamed("model.safetensors", "tf_model.h5")],
        "the weights are TensorFlow's (tf_model.h5)",
        "convert it with transformers",
    ),
    "no weights": (
        [without("model.safetensors")],
        "there is no model.safetensors",
        "Copy it from the model's repository",
    ),
    "shards without an index": (
        [renamed("model.safetensors", "model-00001-of-00002.safetensors")],
        "there is no model.safetensors, but model-00001-of-00002.safetensors without model.safetensors.index.json",
        "Copy model.safetensors.index.json",
    ),
    "missing shard": (
        [shards("model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors")],
        "the shard model-00002-of-00002.safetensors is missing",
        "Fetch the model again",
    ),
    "truncated": (
        [lambda folder: written("model.safetensors", (folder / "model.safetensors").read_bytes()[:-9])(folder)],
        "model.safetensors is truncated or not a safetensors file",
        "Fetch the model again",
    ),
    "Git LFS pointer": (
        [written("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")],
        "model.safetensors is a Git LFS pointer, not the weights",
        "Run git lfs pull",
    ),
    "pickle under another name": (
        [written("model.safetensors", b"PK\x03\x04" + bytes(80))],
        "model.safetensors is a pickle, not a safetensors file",
        "Use model.safetensors of the model's repository",
    ),
    "GGUF under another name": (
        [written("model.safetensors", b"GGUF" + bytes(80))],
        "model.safetensors is a GGUF file, not a safetensors file",
        "Use model.safetensors of the model's repository",
    ),
    "a weight left out": (
        [weights(lambda stored: stored.pop("bert.encoder.layer.1.output.dense.weight"))],
        "the weight bert.encoder.layer.1.output.dense.weight is missing, and the file is complete without it",
        "Save the whole model again",
    ),
    "names of DistilBERT": (
        [called("bert.encoder.layer.0.attention.self.query", "distilbert.transformer.layer.0.attention.q_lin")],
        "the names of the weights look like those of DistilBERT, not of the family bert",
        "Use weights and config.json from the same repository",
    ),
    "names of merged weights": (
        [called("encoder.layer.0.attention.self.query", "encoder.layers.0.mixer.Wqkv")],
        "look like those of jina-reranker-v2 (merged query, key and value), not of the family bert",
        "Use weights and config.json from the same repository",
    ),
    "names of a language model": (
        [called("bert.encoder.layer.0.attention.self.query", "model.layers.0.self_attn.q_proj")],
        "look like those of a language model such as Qwen3 or Llama",
        "a supported family",
    ),
    "quantized weights": (
        [called("layer.0.attention.self.query.weight", "layer.0.attention.self.query.qweight")],
        "look like those of a quantized model (GPTQ, AWQ or bitsandbytes)",
        "a supported family",
    ),
    "no head": (
        [weights(lambda stored: stored.pop("classifier.weight"))],
        "the ranking head is missing (classifier.weight): these are the weights of a bi-encoder",
        "a missing head is never initialized at random",
    ),
    "slow tokenizer": (
        [renamed("tokenizer.json", "vocab.txt")],
        "tokenizer.json is missing; vocab.txt is the older form of a tokenizer",
        "Convert it with transformers: AutoTokenizer.from_pretrained",
    ),
    "sentencepiece": (
        [renamed("tokenizer.json", "sentencepiece.bpe.model")],
        "sentencepiece.bpe.model is the older form of a tokenizer",
        "Convert it with transformers",
    ),
    "no tokenizer": ([without("tokenizer.json")], "tokenizer.json is missing. ", "create it with transformers"),
    "larger tokenizer": (
        [config(vocab_size=100)],
        "tokens, the model 100; they do not match",
        "Use tokenizer.json from the same repository",
    ),
    "tokenizer only": (
        [without("config.json", "model.safetensors")],
        "is not a model folder: config.json is missing",
        "This folder has a tokenizer only",
    ),
    "weights only": (
        [without("config.json", "tokenizer.json")],
        "is not a model folder: config.json is missing",
        "Copy it from the repository that model.safetensors comes from",
    ),
}
