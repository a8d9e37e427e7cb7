"""Incremental ingestion of files into an index.

New and changed files are read, deleted files are removed, and files that cannot be read are reported and skipped. An
interrupted run can be resumed: passages are written in batches, in the order of the files, and each carries the hash
of its file.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from rerankd._common.error_text import first_line
from rerankd._common.plural import counted
from rerankd.errors import RerankdError
from rerankd.retrieval.found_files import FoundFiles, find_files, printable
from rerankd.retrieval.ingest_report import IngestReport, kind_of
from rerankd.retrieval.parsing import DEFAULT_MAX_MB, DOCUMENTS, PARSERS, TABLES, parse
from rerankd.retrieval.passage_metadata import place_of, renamed, renaming_note, reserved_names, well_formed
from rerankd.retrieval.retriever import Index, IndexedFile, IndexedPassage
from rerankd.retrieval.splitting import SplitOptions, TokenOffsets, split

BATCH_ROWS = 2000
FORMAT = 4  # increase when the same file would give different passages or keywords


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """Options for reading files.

    Attributes:
        split: sizes of passages.
        text_field: column or key that holds the text of a row; None to look for a common name.
        max_mb: maximum size of a document in MB.
        prune: True to remove files from the index that were deleted from the given folders.
        follow_links: True to follow symbolic links out of the given folders.
        delimiter: character between the columns of csv and tsv files; None to detect it.
    """

    split: SplitOptions = field(default_factory=SplitOptions)
    text_field: str | None = None
    max_mb: float = DEFAULT_MAX_MB
    prune: bool = True
    follow_links: bool = False
    delimiter: str | None = None

    def digest(self, content: bytes) -> str:
        """Return a digest of a file's hash and of every option that changes its passages."""
        sizes = f"{self.split.tokens} {self.split.overlap}"
        options = f"{FORMAT} {sizes} {self.text_field} {self.delimiter}".encode()
        return hashlib.sha256(options + content).hexdigest()[:32]


_ROW_FAULTS = {
    "no text": ("row has no text and was left out", "rows have no text and were left out"),
    "no answer": (
        "row has a question without an answer and was left out",
        "rows have a question without an answer and were left out",
    ),
    "no question": ("row has an answer without a question", "rows have an answer without a question"),
}

Progress = Callable[[int, int], None]


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
    found = find_files(roots, PARSERS, follow_links=options.follow_links)
    with index.write_lock():
        ingestion = _Ingestion(index, offsets, options, found)
        for completed, path in enumerate(found.paths, 1):
            ingestion.add_file(path)
            if progress is not None:
                progress(completed, len(found.paths))
        if options.prune:
            ingestion.prune(roots)
        ingestion.close()
    return ingestion.report


class _UnreadableError(Exception):
    """A file cannot be read; the message is for the report."""


class _CutOffError(_UnreadableError):
    """A table cannot be read to its end; the passages before that are in the index."""


@dataclass(slots=True)
class _File:
    """A file that is being read."""

    path: Path
    source: str
    digest: str
    lost: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)  # of its rows


class _Ingestion:
    """One pass over the files; passages of small files are written in one batch."""

    def __init__(self, index: Index, offsets: TokenOffsets, options: IngestOptions, found: FoundFiles) -> None:
        self._index, self._offsets, self._options, self._found = index, offsets, options, found
        self.report = IngestReport(
            errors=[(printable(path), reason) for path, reason in found.skipped],
            unsupported=[printable(path) for path in found.unsupported],
            links=[(printable(path), target) for path, target in found.links],
            hidden=found.hidden,
        )
        self._complete = index.files()
        self._present = index.sources()
        self._known = {source for source, _ in self._present} | set(self._complete)
        self._rows: list[IndexedPassage] = []
        self._completed: list[IndexedFile] = []

    def add_file(self, path: Path) -> None:
        """Index a file, unless the index holds it unchanged; report a file that cannot be read."""
        source = path.as_posix()
        try:
            file = _File(path, source, self._digest(path))
            indexed = self._complete.get(source)
            if indexed is not None and indexed.digest == file.digest:
                self.report.unchanged += 1
                passages = indexed.passages
            else:
                passages = self._read(file)
        except _CutOffError as error:
            self._note(file)
            self.report.partly_read.append((printable(path), str(error)))
            return
        except _UnreadableError as error:
            self.report.errors.append((printable(path), str(error)))
            return
        self.report.kinds[kind_of(source)] += 1
        if not passages:
            self.report.empty_files.append(source)

    def _digest(self, path: Path) -> str:
        try:
            path.as_posix().encode()
            with path.open("rb") as file:
                return self._options.digest(hashlib.file_digest(file, "sha256").digest())
        except UnicodeEncodeError as error:
            raise _UnreadableError("Its name is not valid UTF-8. Rename the file.") from error
        except OSError as error:
            raise _UnreadableError(f"The file cannot be read ({error.strerror or error}).") from error

    def _read(self, file: _File) -> int:
        """Index a file and return the number of its passages."""
        rows = self._passages(file)
        if file.path.suffix.lower() in DOCUMENTS:
            rows = iter(list(rows))  # a document that fails midway adds no passages at all
        first = next(rows, None)
        if file.source in self._known:
            self._flush()
            self._index.remove([file.source], keep=file.digest)
        indexed = self._present.get((file.source, file.digest), 0)
        count = 0
        try:
            for row in chain([] if first is None else [first], rows):
                self._put(row, indexed)
                count += 1
        finally:  # also of a table that is cut off
            self.report.passages += max(0, count - indexed)
        self._completed.append(IndexedFile(file.source, file.digest, count))
        if len(self._completed) >= BATCH_ROWS:
            self._flush()
        if file.source in self._known:
            self.report.changed += 1
        else:
            self.report.added += 1
        self._note(file)
        return count

    def _note(self, file: _File) -> None:
        """Report what was left out of a file, or lost."""
        counts = [counted(file.faults[fault], *phrases) for fault, phrases in _ROW_FAULTS.items() if file.faults[fault]]
        self.report.notes += [(file.source, note) for note in (*file.notes, *(f"{count}." for count in counts))]
        if file.lost:
            self.report.lost_characters[file.source] = file.lost

    def _put(self, row: IndexedPassage, indexed: int) -> None:
        """Queue a passage, unless it is among the first `indexed`, which an interrupted run has written."""
        if row.part >= indexed:
            self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _passages(self, file: _File) -> Iterator[IndexedPassage]:
        """Yield the passages of a file; whatever a parser raises becomes one sentence."""
        count = 0
        try:
            for row in self._parsed(file):
                yield row
                count += 1
        except RerankdError as error:
            raise _unreadable(file, str(error), count) from error
        except MemoryError as error:
            raise _unreadable(file, "It takes more memory than there is. Split it.", count) from error
        except Exception as error:  # of a library, on a damaged file: the other files are read all the same
            reason = f"{type(error).__name__}: {first_line(error)}"
            fault = f"It cannot be read ({reason}). Convert it to another format."
            raise _unreadable(file, fault, count) from error

    def _parsed(self, file: _File) -> Iterator[IndexedPassage]:
        part = 0
        options = self._options
        is_table = file.path.suffix.lower() in TABLES
        reserved = reserved_names(is_table=is_table)
        units = parse(file.path, text_field=options.text_field, max_mb=options.max_mb, delimiter=options.delimiter)
        for unit in units:
            file.lost += unit.lost_characters
            file.notes |= dict.fromkeys(unit.notes)
            own = renamed(unit.metadata, reserved) | ({"id": unit.id} if unit.id else {})
            if note := renaming_note(unit.metadata, reserved):
                file.notes[note] = None
            before = part
            for passage in split(unit.blocks, self._offsets, options.split):
                metadata = well_formed(place_of(passage, unit.line) | own)
                text = well_formed(passage.text)
                yield IndexedPassage(f"{file.source}#{part}", file.source, part, file.digest, text, metadata)
                part += 1
            if unit.fault:
                file.faults[unit.fault] += 1
            elif is_table and part == before and any(map(str, own.values())):
                file.faults["no text"] += 1

    def _flush(self) -> None:
        """Write the queued passages and completed files in one step."""
        if self._rows or self._completed:
            self._index.add(self._rows, self._completed)
        self._rows, self._completed = [], []

    def prune(self, roots: Sequence[Path]) -> None:
        """Remove files from the index that are no longer in the given folders, or only behind a refused link."""
        existing = {path.as_posix() for path in self._found.paths}
        refused = tuple(path.as_posix() for path in self._found.refused)
        folders = [root.as_posix().rstrip("/") + "/" for root in roots if root.is_dir()]
        below = (source for source in self._known if any(f == "./" or source.startswith(f) for f in folders))
        deleted = [
            source
            for source in below
            if source not in existing and (_is_below(source, refused) or not _may_exist(source))
        ]
        if deleted:
            self._index.remove(deleted)
        self.report.removed = len(deleted)

    def close(self) -> None:
        """Write what is queued and update the search indexes."""
        self._flush()
        self._index.refresh()


def _unreadable(file: _File, fault: str, passages: int) -> _UnreadableError:
    """Return the error for a file that cannot be read after some passages, which stay in the index if it is a table."""
    if passages and file.path.suffix.lower() in TABLES:
        return _CutOffError(f"{fault} The rows before it are in the index.")
    return _UnreadableError(fault)


def _is_below(source: str, folders: Sequence[str]) -> bool:
    return any(source == folder or source.startswith(f"{folder}/") for folder in folders)


def _may_exist(source: str) -> bool:
    """Return False if a file is gone for certain; one whose folder cannot be read may still be there."""
    try:
        os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
