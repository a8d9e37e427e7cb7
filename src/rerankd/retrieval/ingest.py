"""Files into an index: what is new or changed is read, what is gone is taken out, what is broken is said and skipped.

An interrupted run loses nothing and goes on where it was: passages are put in a few thousand at a time, in the order of
the files, and each carries the hash of its file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from rerankd.errors import InvalidInputFileError, RerankdError
from rerankd.retrieval.parsing import DEFAULT_MAX_MB, DOCUMENTS, PARSERS, TABLES, parse
from rerankd.retrieval.retriever import Index, IndexedFile, IndexedPassage
from rerankd.retrieval.splitting import SplitOptions, TokenOffsets, split

BATCH_ROWS = 2000
FORMAT = 1  # raised when the same file gives other passages


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How files are read.

    Attributes:
        split: sizes of passages.
        text_field: column or key that holds the text of rows; None for a usual name.
        max_mb: size of a document at most, in MB.
        prune: whether files that are gone from the given folders are taken out.
    """

    split: SplitOptions = field(default_factory=SplitOptions)
    text_field: str | None = None
    max_mb: float = DEFAULT_MAX_MB
    prune: bool = True

    def digest(self, content: bytes) -> str:
        """Of a file's content's hash and everything that decides what passages it gives."""
        said = f"{FORMAT} {self.split.tokens} {self.split.overlap} {self.text_field}".encode()
        return hashlib.sha256(said + content).hexdigest()[:32]


@dataclass(slots=True)
class IngestReport:
    """What became of the files.

    Attributes:
        added: files that were not there.
        changed: files whose content or cutting changed.
        unchanged: files that were there already.
        removed: files that were taken out.
        empty: files without text.
        passages: passages put in.
        errors: file and reason of those that were skipped.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    empty: int = 0
    passages: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)


Progress = Callable[[int, int], None]


def find_files(roots: Sequence[Path]) -> list[Path]:
    """Files below the roots that can be read, sorted; a root that is a file counts whatever its ending.

    Hidden files and folders are left out.

    Raises:
        InvalidInputFileError: a root that is not there.
    """
    found: dict[Path, None] = {}
    for root in roots:
        if not root.exists():
            raise InvalidInputFileError(f"{root} is not there.", hint="Name a file or folder.")
        if root.is_file():
            found[root] = None
            continue
        for path in sorted(root.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if not hidden and path.suffix.lower() in PARSERS and path.is_file():
                found[path] = None
    return list(found)


def ingest(
    roots: Sequence[Path],
    index: Index,
    offsets: TokenOffsets,
    options: IngestOptions | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring an index up to what is in files and folders.

    Args:
        roots: files and folders.
        index: where passages go.
        offsets: start and end of each token of a text, for sizes of passages.
        options: how files are read.
        progress: told of files that are done, and of all.

    Raises:
        InvalidInputFileError: a root is not there.
        ConflictError: another process writes to the index.
    """
    options = options or IngestOptions()
    paths = find_files(roots)
    with index.write_lock():
        run = _Run(index, offsets, options)
        for place, path in enumerate(paths):
            run.take(path)
            if progress is not None:
                progress(place + 1, len(paths))
        if options.prune:
            run.prune(roots, paths)
        run.close()
    return run.report


class _Run:
    """One pass over files; rows of small files are put in together."""

    def __init__(self, index: Index, offsets: TokenOffsets, options: IngestOptions) -> None:
        self._index, self._offsets, self._options = index, offsets, options
        self.report = IngestReport()
        self._complete = index.files()
        self._present = index.sources()
        self._known = {source for source, _ in self._present} | set(self._complete)
        self._rows: list[IndexedPassage] = []
        self._done: list[IndexedFile] = []
        self._touched = False

    def take(self, path: Path) -> None:
        """Read a file, unless it is there as it is."""
        source = path.as_posix()
        try:
            with path.open("rb") as file:
                digest = self._options.digest(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            self.report.errors.append((source, f"It cannot be read ({error.strerror or error})."))
            return
        held = self._complete.get(source)
        if held is not None and held.digest == digest:
            self.report.unchanged += 1
            return
        try:
            self._read(path, source, digest)
        except (RerankdError, RecursionError, MemoryError) as error:
            partly = " The rows before it are in the index." if path.suffix.lower() in TABLES else ""
            self.report.errors.append((source, (str(error) or type(error).__name__) + partly))

    def _read(self, path: Path, source: str, digest: str) -> None:
        rows = self._passages(path, source, digest)
        if path.suffix.lower() in DOCUMENTS:
            rows = iter(list(rows))  # a document that breaks in the middle gives nothing
        first = next(rows, None)
        if source in self._known:
            self._flush()
            self._index.remove([source], keep=digest)
            self._touched = True
        there = self._present.get((source, digest), 0)
        count = 0
        for row in chain([] if first is None else [first], rows):
            self._put(row, there)
            count += 1
        self._done.append(IndexedFile(source, digest, count))
        if len(self._done) >= BATCH_ROWS:
            self._flush()
        self.report.passages += max(0, count - there)
        self.report.empty += not count
        if source in self._known:
            self.report.changed += 1
        else:
            self.report.added += 1

    def _put(self, row: IndexedPassage, there: int) -> None:
        """Take a row, unless an interrupted run has put it in already."""
        if row.part >= there:
            self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _passages(self, path: Path, source: str, digest: str) -> Iterator[IndexedPassage]:
        part = 0
        names: set[str] = set()
        for unit in parse(path, text_field=self._options.text_field, max_mb=self._options.max_mb):
            for number, passage in enumerate(split(unit.blocks, self._offsets, self._options.split)):
                about = dict(unit.metadata)
                if passage.headings:
                    about["heading"] = " > ".join(passage.headings)
                if passage.page:
                    about["page"] = passage.page
                name = f"{source}#{part}"
                if unit.id and unit.id not in names and not number:
                    about["id"] = unit.id
                    names.add(unit.id)
                yield IndexedPassage(name, source, part, digest, passage.text, about)
                part += 1

    def _flush(self) -> None:
        """Put in what waits, in one step."""
        if self._rows or self._done:
            self._index.add(self._rows, self._done)
            self._touched = True
        self._rows, self._done = [], []

    def prune(self, roots: Sequence[Path], paths: Iterable[Path]) -> None:
        """Take out files of the given folders that are gone."""
        there = {path.as_posix() for path in paths}
        folders = [root.as_posix().rstrip("/") + "/" for root in roots if root.is_dir()]
        below = (source for source in self._known if any(f == "./" or source.startswith(f) for f in folders))
        gone = [source for source in below if source not in there and not Path(source).exists()]
        if gone:
            self._index.remove(gone)
            self._touched = True
        self.report.removed = len(gone)

    def close(self) -> None:
        """Put in the rest and bring the indexes up to it."""
        self._flush()
        self._index.refresh()
