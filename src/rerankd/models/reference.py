"""Model references: a bundled name, a folder, a repository on the hub, or a version in the registry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rerankd.errors import ModelNotFoundError

BUNDLED = ("mini",)
_HUB = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?$", re.ASCII)
REGISTRY = "registry:"
CHAMPION = "champion"
_REGISTRY = re.compile(
    r"^registry:(?P<name>[A-Za-z0-9][\w.-]{0,99})(@(?P<revision>[A-Za-z0-9][\w-]{0,99}))?$", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A parsed reference; `revision` is a revision on the hub, or an alias or version number in the registry."""

    kind: Literal["bundled", "folder", "hub", "registry"]
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        name = f"{REGISTRY}{self.name}" if self.kind == "registry" else self.name
        return f"{name}@{self.revision}" if self.revision else name

    @property
    def alias(self) -> str | None:
        """Alias that a registry reference follows; None for other references."""
        moves = self.kind == "registry" and self.revision is not None and not self.revision.isdecimal()
        return self.revision if moves else None


def short_name(reference: str) -> str:
    """Return the name of a model in requests and settings: of its folder, in the registry, or the reference itself.

    Example:
        >>> short_name("registry:legal@3"), short_name("org/model@main")
        ('legal', 'org/model@main')
    """
    if reference.startswith(REGISTRY):
        return _registry_reference(reference).name
    return Path(reference).name if Path(reference).is_dir() and reference not in BUNDLED else reference


def bundled_folder(name: str) -> Path:
    """Return the folder of a bundled model inside the package."""
    return Path(__file__).parent / "bundled" / name


def parse_reference(text: str) -> ModelReference:
    """Parse `mini`, a folder, `org/name[@revision]`, or `registry:name[@alias or number]`.

    A folder that exists wins over a repository of the same name; `./mini` is a folder, `mini` the bundled model.
    `registry:name` means `registry:name@champion`.

    Raises:
        ModelNotFoundError: the text has none of these forms.

    Example:
        >>> parse_reference("BAAI/bge-reranker-v2-m3@main")
        ModelReference(kind='hub', name='BAAI/bge-reranker-v2-m3', revision='main')
    """
    if text in BUNDLED:
        return ModelReference("bundled", text)
    if text.startswith(REGISTRY):
        return _registry_reference(text)
    if text and (path := _folder(text)) is not None:
        return ModelReference("folder", str(path))
    if text and _is_file(text):
        raise ModelNotFoundError(f"{text[:200]!r} is a file, not a model folder.", hint=_instead(Path(text)))
    looks_local = text.startswith((".", "/", "~")) or "\\" in text
    if not looks_local and (match := _HUB.match(text)):
        return ModelReference("hub", match["name"], match["revision"])
    problem = "This folder does not exist" if looks_local else "This is not a model reference"
    raise ModelNotFoundError(
        f"{problem}: {text[:200]!r}.",
        hint=f"Use a bundled model ({', '.join(BUNDLED)}), a folder, org/name[@revision] on the hub, "
        "or registry:NAME[@ALIAS].",
    )


def _folder(text: str) -> Path | None:
    """Return the folder of a path; None if there is none, or the system cannot name one so."""
    try:
        path = Path(text).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long, a user without a home, a NUL character
        return None


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _instead(path: Path) -> str:
    """Return what to pass instead of a file."""
    if path.suffix == ".gguf":
        return "GGUF is not read; pass the folder or the repository with model.safetensors that it was converted from."
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt"):
        return "A pickle can run code and is never loaded; pass a folder with config.json and model.safetensors."
    place = f": {path.resolve().parent}" if path.suffix in (".safetensors", ".json", ".onnx") else ""
    return f"Pass the folder with config.json, tokenizer.json and the weights{place}."


def _registry_reference(text: str) -> ModelReference:
    match = _REGISTRY.match(text)
    if match is None:
        raise ModelNotFoundError(
            f"This is not a registry reference: {text[:200]!r}.",
            hint="Write registry:NAME, registry:NAME@ALIAS or registry:NAME@NUMBER.",
        )
    return ModelReference("registry", match["name"], match["revision"] or CHAMPION)
