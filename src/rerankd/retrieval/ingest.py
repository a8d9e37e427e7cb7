"""Incremental ingestion of files into an index.

New and changed files are read, deleted files are removed, and files that cannot be read are reported and skipped. An
interrupted run can be resumed: passages are written in batches, in the order of the files, and each carries the hash
of its file.
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
FORMAT = 1  # increase when the same file would give different passages


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """Options for reading files.

    Attributes:
        split: sizes of passages.
        text_field: column or key that holds the text of a row; None to look for a common name.
        max_mb: maximum size of a document in MB.
        prune: True to remove files from the index that were deleted from the given folders.
    """

    split: SplitOptions = field(default_factory=SplitOptions)
    text_field: str | None = None
    max_mb: float = DEFAULT_MAX_MB
    prune: bool = True

    def digest(self, content: bytes) -> str:
        """Return a digest of a file's hash and of every option that changes its passages."""
        options = f"{FORMAT} {self.split.tokens} {self.split.overlap} {self.text_field}".encode()
        return hashlib.sha256(options + content).hexdigest()[:32]


@dataclass(slots=True)
class IngestReport:
    """Summary of an ingestion run.

    Attributes:
        added: number of files that are new to the index.
        changed: number of files whose content or split options changed.
        unchanged: number of files that were indexed already.
        removed: number of files that were removed from the index.
        empty: number of files without text.
        passages: number of passages added.
        errors: each skipped file with the reason.
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
    """Return the supported files below the roots, sorted; a root that is a file is returned whatever its suffix.

    Hidden files and folders are skipped.

    Raises:
        InvalidInputFileError: a root does not exist.
    """
    files: dict[Path, None] = {}
    for root in roots:
        if not root.exists():
            raise InvalidInputFileError(f"{root} does not exist.", hint="Pass an existing file or folder.")
        if root.is_file():
            files[root] = None
            continue
        for path in sorted(root.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if not hidden and path.suffix.lower() in PARSERS and path.is_file():
                files[path] = None
    return list(files)


def ingest(
    roots: Sequence[Path],
    index: Index,
    offsets: TokenOffsets,
    options: IngestOptions | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Update an index with the contents of files and folders.

    Args:
        roots: files and folders.
        index: destination of the passages.
        offsets: returns start and end of each token of a text; passages are sized by it.
        options: options for reading files.
        progress: called after each file with the number of completed files and their total.

    Raises:
        InvalidInputFileError: a root does not exist.
        ConflictError: another process is writing to the index.
    """
    options = options or IngestOptions()
    paths = find_files(roots)
    with index.write_lock():
        ingestion = _Ingestion(index, offsets, options)
        for completed, path in enumerate(paths, 1):
            ingestion.add_file(path)
            if progress is not None:
                progress(completed, len(paths))
        if options.prune:
            ingestion.prune(roots, paths)
        ingestion.close()
    return ingestion.report


class _Ingestion:
    """One pass over the files; passages of small files are written in one batch."""

    def __init__(self, index: Index, offsets: TokenOffsets, options: IngestOptions) -> None:
        self._index, self._offsets, self._options = index, offsets, options
        self.report = IngestReport()
        self._complete = index.files()
        self._present = index.sources()
        self._known = {source for source, _ in self._present} | set(self._complete)
        self._rows: list[IndexedPassage] = []
        self._completed: list[IndexedFile] = []

    def add_file(self, path: Path) -> None:
        """Index a file, unless the index holds it unchanged."""
        source = path.as_posix()
        try:
            with path.open("rb") as file:
                digest = self._options.digest(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            self.report.errors.append((source, f"The file cannot be read ({error.strerror or error})."))
            return
        indexed = self._complete.get(source)
        if indexed is not None and indexed.digest == digest:
            self.report.unchanged += 1
            return
        try:
            self._read(path, source, digest)
        except (RerankdError, RecursionError, MemoryError) as error:
            note = " The rows before it are in the index." if path.suffix.lower() in TABLES else ""
            self.report.errors.append((source, (str(error) or type(error).__name__) + note))

    def _read(self, path: Path, source: str, digest: str) -> None:
        rows = self._passages(path, source, digest)
        if path.suffix.lower() in DOCUMENTS:
            rows = iter(list(rows))  # a document that fails midway adds no passages at all
        first = next(rows, None)
        if source in self._known:
            self._flush()
            self._index.remove([source], keep=digest)
        indexed = self._present.get((source, digest), 0)
        count = 0
        for row in chain([] if first is None else [first], rows):
            self._put(row, indexed)
            count += 1
        self._completed.append(IndexedFile(source, digest, count))
        if len(self._completed) >= BATCH_ROWS:
            self._flush()
        self.report.passages += max(0, count - indexed)
        self.report.empty += not count
        if source in self._known:
            self.report.changed += 1
        else:
            self.report.added += 1

    def _put(self, row: IndexedPassage, indexed: int) -> None:
        """Queue a passage, unless it is among the first `indexed`, which an interrupted run has written."""
        if row.part >= indexed:
            self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _passages(self, path: Path, source: str, digest: str) -> Iterator[IndexedPassage]:
        part = 0
        names: set[str] = set()
        for unit in parse(path, text_field=self._options.text_field, max_mb=self._options.max_mb):
            for number, passage in enumerate(split(unit.blocks, self._offsets, self._options.split)):
                metadata = dict(unit.metadata)
                if passage.headings:
                    metadata["heading"] = " > ".join(passage.headings)
                if passage.page:
                    metadata["page"] = passage.page
                name = f"{source}#{part}"
                if unit.id and unit.id not in names and not number:
                    metadata["id"] = unit.id
                    names.add(unit.id)
                yield IndexedPassage(name, source, part, digest, passage.text, metadata)
                part += 1

    def _flush(self) -> None:
        """Write the queued passages and completed files in one step."""
        if self._rows or self._completed:
            self._index.add(self._rows, self._completed)
        self._rows, self._completed = [], []

    def prune(self, roots: Sequence[Path], paths: Iterable[Path]) -> None:
        """Remove files from the index that were deleted from the given folders."""
        existing = {path.as_posix() for path in paths}
        folders = [root.as_posix().rstrip("/") + "/" for root in roots if root.is_dir()]
        below = (source for source in self._known if any(f == "./" or source.startswith(f) for f in folders))
        deleted = [source for source in below if source not in existing and not Path(source).exists()]
        if deleted:
            self._index.remove(deleted)
        self.report.removed = len(deleted)

    def close(self) -> None:
        """Write what is queued and update the search indexes."""
        self._flush()
        self._index.refresh()
