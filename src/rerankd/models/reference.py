"""What a model reference means: a bundled name, a folder, or a repository on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rerankd.errors import ModelNotFoundError

BUNDLED = ("mini",)
_HUB = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?$", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A parsed reference; `revision` is set for hub references that name one."""

    kind: Literal["bundled", "folder", "hub"]
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


def bundled_folder(name: str) -> Path:
    """Where a bundled model lies inside the package."""
    return Path(__file__).parent / "bundled" / name


def parse_reference(text: str) -> ModelReference:
    """Parse `mini`, a folder, or `org/name[@revision]`.

    A folder that exists wins over a repository of the same name; `./mini` is a folder, `mini` the bundled model.

    Raises:
        ModelNotFoundError: it is none of the three.

    Example:
        >>> parse_reference("BAAI/bge-reranker-v2-m3@main")
        ModelReference(kind='hub', name='BAAI/bge-reranker-v2-m3', revision='main')
    """
    if text in BUNDLED:
        return ModelReference("bundled", text)
    path = Path(text).expanduser()
    if text and path.is_dir():
        return ModelReference("folder", str(path))
    looks_local = text.startswith((".", "/", "~")) or "\\" in text
    if not looks_local and (match := _HUB.match(text)):
        return ModelReference("hub", match["name"], match["revision"])
    what = "This folder does not exist" if looks_local else "This is no model reference"
    raise ModelNotFoundError(
        f"{what}: {text!r}.",
        hint=f"Use a bundled model ({', '.join(BUNDLED)}), a folder, or org/name[@revision] on the hub.",
    )
