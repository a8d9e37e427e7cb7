"""Loading of model files: from a reference to a checked folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd._common.json_parsing import parse_json
from rerankd.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from rerankd.models import adapters, hub, sources
from rerankd.models.architecture import Architecture
from rerankd.models.checkpoint import INDEX, Checkpoint, weight_files
from rerankd.models.families import ModelConfig, recognise
from rerankd.models.manifest import Manifest, check_hashes, read_manifest
from rerankd.models.reference import ModelReference, bundled_folder, parse_reference
from rerankd.models.saved_options import saved_activation, saved_max_length
from rerankd.models.wrong_files import no_config, no_tokenizer, other_weights
from rerankd.types import Activation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ONNX = "model.onnx"
DEFAULT_MAX_LENGTH = 1024  # of a checkpoint that was saved without one
_ACTIVATIONS: dict[str, Activation] = {"": "sigmoid", "Sigmoid": "sigmoid", "Identity": "none"}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A checked model folder with its manifest, which is derived from config.json if the folder has none.

    Attributes:
        reference: reference that was loaded.
        folder: the folder.
        manifest: its manifest.
        base: files of the base model, if the folder holds an adapter.
    """

    reference: ModelReference
    folder: Path
    manifest: Manifest
    base: ModelFiles | None = None

    @property
    def compiled(self) -> bool:
        """True if the folder holds an ONNX model that was compiled here."""
        return ONNX in self.manifest.files and (self.folder / ONNX).is_file()

    @property
    def weights_folder(self) -> Path:
        """Folder with config.json and the weights, which an adapter changes."""
        return self.base.folder if self.base else self.folder

    def find(self, name: str) -> Path:
        """Return the path of a file, which an adapter's folder may leave to the base model."""
        path = self.folder / name
        return self.base.folder / name if self.base is not None and not path.is_file() else path

    @property
    def size(self) -> int:
        """Size of the weights in bytes."""
        if self.base is not None:
            return self.base.size + (self.folder / adapters.WEIGHTS).stat().st_size
        paths = list(self.folder.glob(f"{ONNX}*")) if self.compiled else weight_files(self.folder)
        return sum(path.stat().st_size for path in paths)

    @property
    def activation(self) -> Activation:
        """Activation that the model was saved with by sentence-transformers; `sigmoid` if it was saved with none.

        A calibration makes the sigmoid a probability, so it counts for a calibrated model.

        Raises:
            UnsupportedModelError: another activation than Sigmoid or Identity.
        """
        name = "" if self.manifest.calibration else saved_activation(self.folder)
        if self.base is not None and not name:
            return self.base.activation
        if name not in _ACTIVATIONS:
            raise UnsupportedModelError(
                f"{self.manifest.name} was saved with the activation {name}, which rerankd does not compute.",
                hint='Pass activation="none" for logits, or activation="sigmoid".',
            )
        return _ACTIVATIONS[name]

    def checkpoint(self) -> Checkpoint:
        """Open and check the weights of a checkpoint; those of an adapter are merged into its base model's."""
        if self.base is not None:
            return adapters.AdaptedCheckpoint(self.base.folder, self.manifest.architecture, self.folder)
        return Checkpoint(self.folder, self.manifest.architecture)

    def tokenizer(self) -> Tokenizer:
        """Load the tokenizer, with its truncation and padding turned off."""
        return load_tokenizer(self.find("tokenizer.json").parent)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load `tokenizer.json`.

    Raises:
        CorruptModelError: it is missing or cannot be read.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise no_tokenizer(folder)
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
    """Find and check the files of a model reference.

    Args:
        reference: `mini`, a folder, `org/name[@revision]`, or `registry:name[@alias or number]`.
        token: access token for the hub; default `HF_TOKEN`.
        cache_dir: cache folder of the hub; default as in huggingface_hub.
        registry: address of the MLflow registry; default `RERANKD_REGISTRY`, or the user's local store.

    Raises:
        ModelNotFoundError: the reference names no model.
        UnsupportedModelError: the model is not a supported cross-encoder.
        CorruptModelError: files are missing, truncated or changed.
        VerificationError: the registry alias points to a version that was never verified.
        UnavailableError: the registry cannot be reached, and no version is cached.
    """
    parsed = parse_reference(reference)
    folder = _folder(parsed, token, cache_dir, registry)
    if not is_adapter(folder):
        return _whole(parsed, folder)
    base = parse_reference(adapters.base_reference(folder))
    base_folder = _folder(base, token, cache_dir, registry)
    if is_adapter(base_folder):
        raise adapters.wrong_base(folder, "an adapter itself")
    return _adapted(parsed, folder, _whole(base, base_folder))


def _whole(parsed: ModelReference, folder: Path) -> ModelFiles:
    """Return the checked files of a folder with all weights of a model."""
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


def _adapted(reference: ModelReference, folder: Path, base: ModelFiles) -> ModelFiles:
    """Return the files of an adapter with those of its base model, after checking that they fit."""
    if base.compiled:
        raise adapters.wrong_base(folder, "compiled")
    manifest = replace(
        base.manifest,
        name=_name(reference, folder),
        max_length=min(base.manifest.architecture.max_length, saved_max_length(folder) or base.manifest.max_length),
        revision=folder.name if hub.repository_of(folder) else "",
        files={},
    )
    files = ModelFiles(reference, folder, manifest, base)
    files.checkpoint()
    if (folder / "tokenizer.json").is_file():
        _check_vocabulary(folder, files.tokenizer(), manifest.architecture)
    return files


def _folder(reference: ModelReference, token: str | None, cache_dir: str | None, registry: str | None) -> Path:
    if reference.kind == "hub":
        return hub.fetch(reference, token=token, cache_dir=cache_dir)
    if reference.kind == "registry":
        return sources.source("registry")(reference, registry, cache_dir)
    folder = bundled_folder(reference.name) if reference.kind == "bundled" else hub.snapshot_of(Path(reference.name))
    if not folder.is_dir():
        raise ModelNotFoundError(
            f"The bundled model {reference.name!r} is missing.", hint="Install rerankd from a wheel."
        )
    return folder


def read_config(folder: Path) -> dict[str, object]:
    """Parse `config.json`.

    Raises:
        CorruptModelError: the file is missing or not a JSON object.
    """
    path = folder / "config.json"
    check_no_adapter(folder)
    if not path.is_file():
        raise no_config(folder)
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise CorruptModelError(f"{path} is not valid JSON ({error}).", hint="Fetch the model again.") from error
    return content


def is_adapter(folder: Path) -> bool:
    """Return True for a folder with an adapter (PEFT) and no weights of a model."""
    whole = (ONNX, "model.safetensors", INDEX)
    return (folder / adapters.CONFIG).is_file() and not any((folder / name).is_file() for name in whole)


def check_no_adapter(folder: Path) -> None:
    """Check that a folder does not hold an adapter (PEFT), whose weights mean nothing without those of its base model.

    Raises:
        UnsupportedModelError: it holds an adapter and no weights of a model.
    """
    if is_adapter(folder):
        raise UnsupportedModelError(
            f"{folder} holds an adapter (PEFT) of an encoder, not a model.",
            hint="Merge it first: load it with peft, then model.merge_and_unload().save_pretrained(FOLDER) with the "
            "tokenizer, and pass FOLDER.",
        )


def _bare_manifest(reference: ModelReference, folder: Path) -> Manifest:
    config = ModelConfig(read_config(folder), str(reference), folder)
    family = recognise(config)
    architecture = family.read(config)
    tokenizer = load_tokenizer(folder)
    template = family.template(architecture, tokenizer, folder)
    _check_vocabulary(folder, tokenizer, architecture)
    if (folder / ONNX).is_file() and not any(folder.glob("*.safetensors")) and (found := other_weights(folder)):
        raise found
    repository = hub.repository_of(folder)
    return Manifest(
        name=_name(reference, folder),
        architecture=architecture,
        template=template,
        max_length=min(architecture.max_length, saved_max_length(folder) or DEFAULT_MAX_LENGTH),
        precision="fp32",
        revision=folder.name if repository else "",
    )


def _name(reference: ModelReference, folder: Path) -> str:
    return reference.name if reference.kind == "hub" else hub.repository_of(folder) or folder.resolve().name


def _check_vocabulary(folder: Path, tokenizer: Tokenizer, architecture: Architecture) -> None:
    if (size := tokenizer.get_vocab_size()) > architecture.vocabulary:
        raise CorruptModelError(
            f"{folder}: the tokenizer has {size} tokens, the model {architecture.vocabulary}; they do not match.",
            hint="Use tokenizer.json from the same repository as the weights.",
        )
