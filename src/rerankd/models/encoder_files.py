"""Files of a text encoder: from a reference to a checked folder, with what rerankers have in their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rerankd.errors import ModelNotFoundError
from rerankd.models import hub
from rerankd.models.families.bert import read_encoder_architecture
from rerankd.models.files import ModelFiles, load_tokenizer, read_config
from rerankd.models.manifest import Manifest
from rerankd.models.reference import ModelReference, parse_reference
from rerankd.models.template import PairTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEFAULT_LENGTH = 512  # tokens of a text that are read, where nobody asks for more


def find_encoder(reference: str, cache_dir: str | None = None) -> ModelFiles:
    """Find and check the files of a text encoder.

    Args:
        reference: a folder, or `org/name[@revision]` on the hub.
        cache_dir: cache folder of the hub; None for its default.

    Raises:
        ModelNotFoundError: the reference names no encoder.
        UnsupportedModelError: the encoder's architecture is not supported.
        CorruptModelError: files are missing or damaged.
    """
    parsed = parse_reference(reference)
    if parsed.kind in ("bundled", "registry"):
        raise ModelNotFoundError(
            f"{reference!r} is not an encoder.", hint="Use a text encoder such as intfloat/multilingual-e5-small."
        )
    folder = hub.fetch(parsed, cache_dir=cache_dir) if parsed.kind == "hub" else Path(parsed.name)
    return encoder_files(folder, folder.name if parsed.kind != "hub" else reference, parsed)


def encoder_files(folder: Path, name: str, reference: ModelReference | None = None) -> ModelFiles:
    """Check the folder of a text encoder.

    Args:
        folder: folder with config.json, tokenizer.json and safetensors.
        name: name of the encoder.
        reference: reference that the folder was found by; None for the folder itself.

    Raises:
        UnsupportedModelError: the encoder's architecture is not supported.
        CorruptModelError: files are missing or damaged.
    """
    architecture = read_encoder_architecture(read_config(folder), str(folder))
    template = text_template(load_tokenizer(folder))
    commit = folder.name if folder.parent.name == "snapshots" else ""
    length = min(DEFAULT_LENGTH, architecture.max_length)
    manifest = Manifest(name, architecture, template, length, precision="fp32", revision=commit)
    return ModelFiles(reference or ModelReference("folder", str(folder)), folder, manifest)


def text_template(tokenizer: Tokenizer) -> PairTemplate:
    """Return the special tokens that a tokenizer puts around one text; the place of a query is empty.

    Args:
        tokenizer: tokenizer without truncation and padding.
    """
    text = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    start = next((n for n in range(len(whole)) if whole[n : n + len(text)] == text), 0)
    return PairTemplate(tuple(whole[:start]), (), tuple(whole[start + len(text) :]))
