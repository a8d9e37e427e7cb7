"""From a reference to a checked folder: the one way to find a model's files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd.errors import CorruptModelError, ModelNotFoundError
from rerankd.models import hub, sources
from rerankd.models.architecture import Architecture, read_architecture
from rerankd.models.checkpoint import Checkpoint, weight_files
from rerankd.models.manifest import Manifest, check_hashes, read_manifest
from rerankd.models.reference import ModelReference, bundled_folder, parse_reference
from rerankd.models.template import pair_template

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ONNX = "model.onnx"
DEFAULT_MAX_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A folder that was found and checked, with its manifest (made up from config.json for a bare checkpoint)."""

    reference: ModelReference
    folder: Path
    manifest: Manifest

    @property
    def compiled(self) -> bool:
        """Whether there is an ONNX file to run."""
        return (self.folder / ONNX).is_file()

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        paths = list(self.folder.glob(f"{ONNX}*")) if self.compiled else weight_files(self.folder)
        return sum(path.stat().st_size for path in paths)

    def checkpoint(self) -> Checkpoint:
        """The weights of a checkpoint, checked."""
        return Checkpoint(self.folder, self.manifest.architecture)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without its own truncation and padding."""
        return load_tokenizer(self.folder)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load `tokenizer.json`.

    Raises:
        CorruptModelError: it is missing or cannot be read.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CorruptModelError(
            f"{folder}: tokenizer.json is missing.",
            hint="Fetch it, or make it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...).",
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust extension raises bare Exception
        raise CorruptModelError(f"{path} cannot be read ({error}).", hint="Fetch the model again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_model(
    reference: str, *, token: str | None = None, cache_dir: str | None = None, registry: str | None = None
) -> ModelFiles:
    """Find the files of a reference and check them.

    Args:
        reference: `mini`, a folder, `org/name[@revision]`, or `registry:name[@alias or number]`.
        token: access token for the hub; default `HF_TOKEN`.
        cache_dir: the hub's cache; default as huggingface_hub.
        registry: where MLflow is; default `RERANKD_REGISTRY`, or the user's own store.

    Raises:
        ModelNotFoundError: nothing there.
        UnsupportedModelError: not a cross-encoder that is computed here.
        CorruptModelError: files missing, truncated or changed.
        VerificationError: an alias of the registry leads to a model that was never verified.
        UnavailableError: the registry cannot be reached, and no version is known here.
    """
    parsed = parse_reference(reference)
    folder = _folder(parsed, token, cache_dir, registry)
    manifest = read_manifest(folder)
    if manifest is not None:
        check_hashes(folder, manifest)
        files = ModelFiles(parsed, folder, manifest)
    else:
        files = ModelFiles(parsed, folder, _bare_manifest(parsed, folder))
    if not files.compiled:
        checkpoint = files.checkpoint()
        if manifest is None:
            files = replace(files, manifest=replace(files.manifest, precision=checkpoint.precision))
    return files


def _folder(reference: ModelReference, token: str | None, cache_dir: str | None, registry: str | None) -> Path:
    if reference.kind == "hub":
        return hub.fetch(reference, token=token, cache_dir=cache_dir)
    if reference.kind == "registry":
        return sources.source("registry")(reference, registry, cache_dir)
    folder = bundled_folder(reference.name) if reference.kind == "bundled" else Path(reference.name)
    if not folder.is_dir():
        raise ModelNotFoundError(
            f"The bundled model {reference.name!r} is missing.", hint="Install rerankd from its wheel."
        )
    return folder


def read_config(folder: Path) -> dict[str, object]:
    """Parse `config.json`.

    Raises:
        CorruptModelError: missing or not JSON.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CorruptModelError(
            f"{folder}: config.json is missing: this is not a model folder.", hint="Pass the folder that holds it."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise CorruptModelError(f"{path} is not valid JSON ({error}).", hint="Fetch the model again.") from error
    return content


def _bare_manifest(reference: ModelReference, folder: Path) -> Manifest:
    architecture = read_architecture(read_config(folder), str(reference))
    tokenizer = load_tokenizer(folder)
    template = pair_template(architecture.family, tokenizer.token_to_id)
    _check_vocabulary(folder, tokenizer, architecture)
    return Manifest(
        name=reference.name if reference.kind == "hub" else folder.resolve().name,
        architecture=architecture,
        template=template,
        max_length=min(architecture.max_length, DEFAULT_MAX_LENGTH),
        precision="fp32",
        revision=folder.name if reference.kind == "hub" else "",
    )


def _check_vocabulary(folder: Path, tokenizer: Tokenizer, architecture: Architecture) -> None:
    if (size := tokenizer.get_vocab_size()) > architecture.vocabulary:
        raise CorruptModelError(
            f"{folder}: the tokenizer has {size} tokens, the model {architecture.vocabulary}: they do not match.",
            hint="Take tokenizer.json from the same repository as the weights.",
        )
