"""BEIR folders below folders that an operator allows: found by name, and their texts read again when they are shown."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rerankd.errors import InvalidInputFileError, NotFoundError
from rerankd.evaluation.text_io import json_rows, required_field

MAX_FOLDERS = 200
MAX_CHARACTERS = 50_000_000
MAX_CACHED = 4


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A BEIR folder.

    Attributes:
        name: name of the allowed folder and of the folder in it, such as `data/scifact`.
        path: the folder.
        has_candidates: True if it has the run of a first stage; BM25 in memory ranks otherwise.
    """

    name: str
    path: Path
    has_candidates: bool


def find_folders(roots: Iterable[Path | str]) -> list[DatasetFolder]:
    """Return the BEIR folders among allowed folders and directly below them, by name; at most `MAX_FOLDERS`.

    What a link leads to outside of the allowed folder is left out. A folder that cannot be read has none.
    """
    found: dict[str, DatasetFolder] = {}
    for root in roots:
        with suppress(OSError, RuntimeError):
            top = Path(root).expanduser().resolve()
            for path in (top, *sorted(child for child in top.iterdir() if child.is_dir())):
                is_inside = path.resolve().is_relative_to(top)
                if is_inside and _is_beir(path) and len(found) < MAX_FOLDERS:
                    name = top.name if path == top else f"{top.name}/{path.name}"
                    has_run = any((path / file).is_file() for file in ("candidates.trec", "candidates.trec.gz"))
                    found.setdefault(name, DatasetFolder(name, path, has_run))
    return list(found.values())


def find_folder(roots: Iterable[Path | str], name: str) -> DatasetFolder:
    """Return the BEIR folder of a name.

    Raises:
        NotFoundError: there is none among the allowed folders.
    """
    for folder in find_folders(roots):
        if folder.name == name:
            return folder
    raise NotFoundError(f"There is no dataset {name[:100]!r}.", hint="Choose one of the list.")


def _is_beir(path: Path) -> bool:
    has_queries = any((path / name).is_file() for name in ("queries.jsonl", "queries.jsonl.gz"))
    return has_queries and ((path / "qrels").is_dir() or any(path.glob("qrels.*")))


class TextCache:
    """Texts of datasets by id, read from their files again where they are not remembered. Thread-safe.

    Example:
        >>> TextCache().read(Path("no/such/folder"), "queries", ["q1"])
        {}
    """

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[Path, int], dict[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, file: Path, texts: Mapping[str, str]) -> None:
        """Remember texts of a file, unless they are too long."""
        with suppress(OSError), self._lock:
            key = (file, file.stat().st_mtime_ns)
            known = self._texts.setdefault(key, {})
            self._texts.move_to_end(key)
            known |= texts
            while self._texts and (len(self._texts) > MAX_CACHED or self._characters() > MAX_CHARACTERS):
                self._texts.popitem(last=False)

    def _characters(self) -> int:
        return sum(len(text) for texts in self._texts.values() for text in texts.values())

    def read(self, folder: Path, kind: str, ids: Collection[str]) -> dict[str, str]:
        """Return texts by id; those that are not there any more are missing.

        Args:
            folder: BEIR folder.
            kind: `queries` or `corpus`.
            ids: ids of the texts.
        """
        file = text_file(folder, kind)
        if file is None:
            return {}
        with suppress(OSError), self._lock:
            known = self._texts.get((file, file.stat().st_mtime_ns), {})
            if all(name in known for name in ids):
                return {name: known[name] for name in ids}
        texts = _read(file, set(ids), titles=kind == "corpus")
        self.remember(file, texts)
        return texts


def text_file(folder: Path, kind: str) -> Path | None:
    """Return the file of the queries or of the corpus; None if there is none."""
    return next((path for name in (f"{kind}.jsonl", f"{kind}.jsonl.gz") if (path := folder / name).is_file()), None)


def _read(file: Path, ids: set[str], *, titles: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    with suppress(InvalidInputFileError):
        for location, row in json_rows(file):
            name = required_field(row, ("_id", "id"), location)
            if name in ids:
                title = row.get("title") or "" if titles else ""
                texts[name] = f"{title} {row.get('text', '')}".strip()
                if len(texts) == len(ids):
                    break
    return texts
