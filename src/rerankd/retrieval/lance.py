"""The embedded index: a LanceDB table in a folder, with keywords, and with vectors if an embedding model is configured.

Texts are tokenized by `keywords.py`, which needs no dictionary for Chinese, and ranked by Lance's BM25. Each row
carries the hash of its file, and a second table lists the files that are complete, so that an interrupted run can be
resumed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from rerankd._common.error_text import first_line
from rerankd._common.files import lock_file, private_files
from rerankd._common.optional import require
from rerankd._common.validation import plain_metadata, to_query
from rerankd.errors import ConflictError, NotFoundError, RerankdError, UnavailableError
from rerankd.retrieval.embedding import Embedder
from rerankd.retrieval.keywords import keywords, query_keywords
from rerankd.retrieval.retriever import DEFAULT_K, IndexedFile, IndexedPassage, reciprocal_rank_fusion, with_score
from rerankd.types import Document

PASSAGES, FILES = "passages", "files"
OBSOLETE = timedelta(minutes=1)  # age of table versions to delete: a search reads the latest one
_DISK_FULL = re.compile("no space left|quota exceeded|file too large", re.IGNORECASE)
VECTOR_ROWS = 20_000  # up to here every vector is compared: exact, and fast enough


class LanceIndex:
    """An index in a folder. One process may write at a time; any number may read.

    Args:
        folder: folder of the index.
        embedder: embeds passages and queries; None for keywords alone.
        create: True to create the index if it does not exist.

    Raises:
        NotFoundError: the index does not exist and `create` is False.
        ConflictError: the index was built with another embedding model.
        MissingDependencyError: the extra `rag` is not installed.
    """

    def __init__(self, folder: Path, embedder: Embedder | None = None, *, create: bool = False) -> None:
        self._lance: Any = require("lancedb", "rag", "The embedded index")
        self._arrow: Any = require("pyarrow", "rag", "The embedded index")
        self.folder, self._embedder = folder, embedder
        if not create and not self._is_made(PASSAGES):
            raise NotFoundError(f"There is no index in {folder}.", hint="Create one: rerankd index FOLDER")
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = self._lance.connect(str(folder))
        if not (self._is_made(PASSAGES) and self._is_made(FILES)):
            with self.write_lock(), self._writing():
                self._create_tables()
        with self._reading():
            self._passages, self._files = self._open_tables()
        self._lock = threading.Lock()

    def _is_made(self, name: str) -> bool:
        """Return False for a table that does not exist, and for one whose creation failed, such as on a full disk."""
        manifests = (self.folder / f"{name}.lance" / "_versions").glob("*.manifest")
        return any(manifest.stat().st_size for manifest in manifests)

    def _create_tables(self) -> None:
        """Create the tables that do not exist; what is left of one whose creation failed is removed."""
        arrow = self._arrow
        missing = [name for name in (PASSAGES, FILES) if not self._is_made(name)]
        if PASSAGES in missing:  # then no file is complete
            missing = [PASSAGES, FILES]
        for name in missing:
            shutil.rmtree(self.folder / f"{name}.lance", ignore_errors=True)
        width = self._embedder.dimensions if self._embedder else 0
        if PASSAGES in missing:
            vector = [arrow.field("vector", arrow.list_(arrow.float32(), width))] if width else []
            marker = {b"embedding": self._embedder.name.encode()} if self._embedder else {}
            texts = [
                arrow.field(name, arrow.string()) for name in ("id", "source", "digest", "text", "words", "metadata")
            ]
            schema = arrow.schema([*texts, arrow.field("part", arrow.int32()), *vector], metadata=marker)
            self._db.create_table(PASSAGES, schema=schema)
        if FILES in missing:
            fields = [arrow.field(name, arrow.string()) for name in ("source", "digest")]
            self._db.create_table(FILES, schema=arrow.schema([*fields, arrow.field("passages", arrow.int64())]))

    def _open_tables(self) -> tuple[Any, Any]:
        passages = self._db.open_table(PASSAGES)
        built_with = (passages.schema.metadata or {}).get(b"embedding", b"").decode()
        if self._embedder is not None and built_with != self._embedder.name:
            raise ConflictError(
                f"The index in {self.folder} was built with {built_with or 'no embedding model'}, "
                f"not with {self._embedder.name}.",
                hint="Use the same embedding model, or index into another folder.",
            )
        return passages, self._db.open_table(FILES)

    def __len__(self) -> int:
        return int(self._passages.count_rows())

    def files(self) -> dict[str, IndexedFile]:
        """Return the completely indexed files by name."""
        rows = self._files.to_arrow().to_pylist()
        return {row["source"]: IndexedFile(row["source"], row["digest"], row["passages"]) for row in rows}

    def sources(self) -> dict[tuple[str, str], int]:
        """Return the number of passages by file and digest, partly indexed files included."""
        table = self._passages.search().select(["source", "digest"]).limit(len(self) or 1).to_arrow()
        if not table.num_rows:
            return {}
        counted = table.group_by(["source", "digest"]).aggregate([("source", "count")]).to_pylist()
        return {(row["source"], row["digest"]): int(row["source_count"]) for row in counted}

    def add(self, rows: Sequence[IndexedPassage], complete: Sequence[IndexedFile] = ()) -> None:
        """Add passages, then mark the files that are complete. Each of the two steps is atomic."""
        table = self._table(rows) if rows else None
        with self._writing():
            if table is not None:
                self._passages.add(table)
            if complete:
                merging = self._files.merge_insert("source").when_matched_update_all().when_not_matched_insert_all()
                merging.execute([{"source": f.source, "digest": f.digest, "passages": f.passages} for f in complete])

    def _table(self, rows: Sequence[IndexedPassage]) -> Any:
        arrow = self._arrow
        columns: dict[str, Any] = {
            "id": [row.id for row in rows],
            "source": [row.source for row in rows],
            "digest": [row.digest for row in rows],
            "text": [row.text for row in rows],
            "words": [" ".join(keywords(row.text)) for row in rows],
            "metadata": [orjson.dumps(plain_metadata(row.metadata)).decode() for row in rows],
            "part": arrow.array([row.part for row in rows], arrow.int32()),
        }
        if self._embedder is not None:
            vectors = np.asarray(self._embedder.embed([row.text for row in rows], "passage"), np.float32)
            columns["vector"] = arrow.FixedSizeListArray.from_arrays(vectors.reshape(-1), self._embedder.dimensions)
        return arrow.table(columns)

    def remove(self, sources: Iterable[str], keep: str | None = None) -> None:
        """Remove files from the index, except for passages with the digest `keep`."""
        names = list(sources)
        for start in range(0, len(names), 500):
            batch = ", ".join(_quoted(source) for source in names[start : start + 500])
            kept = f" AND digest != {_quoted(keep)}" if keep else ""
            with self._writing():
                self._files.delete(f"source IN ({batch})")
                self._passages.delete(f"source IN ({batch}){kept}")

    def refresh(self) -> None:
        """Update the search indexes and compact the tables."""
        with self._writing():
            self._refresh()

    def _refresh(self) -> None:
        kinds: Any = require("lancedb.index", "rag", "The embedded index")
        names = {index.name for index in self._passages.list_indices()}
        if "words_idx" not in names:
            words = kinds.FTS(
                base_tokenizer="whitespace",
                language="English",
                stem=True,
                remove_stop_words=False,
                ascii_folding=True,
                with_position=False,
                max_token_length=64,
            )
            self._passages.create_index("words", config=words)
        if self._embedder is not None and "vector_idx" not in names and len(self) > VECTOR_ROWS:
            self._passages.create_index("vector", config=kinds.HnswSq(distance_type="cosine"))
        for table in (self._passages, self._files):
            table.optimize(cleanup_older_than=OBSOLETE)

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """Return the best passages by keywords, fused with those by vectors where the index has vectors (RRF).

        Raises:
            InvalidRequestError: the query is empty.
            UnavailableError: the index cannot be read.
        """
        query = to_query(query)
        with self._reading():
            with self._lock:  # see what another process has added since
                self._passages.checkout_latest()
            documents = self._by_keywords(query, k)
            if self._embedder is None:
                return documents[:k]
            return reciprocal_rank_fusion([documents, self._by_vector(query, k)], k)

    def _by_keywords(self, query: str, k: int) -> list[Document]:
        words = query_keywords(query)
        if not words or not len(self):
            return []
        search = self._passages.search(" ".join(words), query_type="fts", fts_columns="words")
        rows = search.select(["id", "source", "text", "metadata", "_score"]).limit(k).to_list()
        return [_document(row, row["_score"]) for row in rows]

    def _by_vector(self, query: str, k: int) -> list[Document]:
        if self._embedder is None or not len(self):
            return []
        [vector] = self._embedder.embed([query], "query")
        search = self._passages.search(np.asarray(vector, np.float32), vector_column_name="vector", query_type="vector")
        rows = (
            search.distance_type("cosine").select(["id", "source", "text", "metadata", "_distance"]).limit(k).to_list()
        )
        return [_document(row, 1 - row["_distance"]) for row in rows]

    def rows(self, source: str | None = None) -> list[dict[str, Any]]:
        """Return the passages of a file, or of all files, without vectors, sorted by source and part."""
        columns = ["id", "source", "part", "digest", "text", "metadata"]
        with self._reading():
            search = self._passages.search().select(columns)
            if source is not None:
                search = search.where(f"source = {_quoted(source)}")
            rows: list[dict[str, Any]] = search.limit(len(self) or 1).to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["source"], row["part"]))

    def read(self, identity: str) -> Document | None:
        """Return a passage by its id; None if there is none."""
        rows = self._read_rows(1, condition=f"id = {_quoted(identity)}")
        return rows[0] if rows else None

    def page(self, offset: int, limit: int) -> list[Document]:
        """Return the passages from a position on, in the order in which the index holds them."""
        return self._read_rows(limit, offset)

    def _read_rows(self, limit: int, offset: int = 0, condition: str = "") -> list[Document]:
        with self._reading():
            with self._lock:
                self._passages.checkout_latest()
            search = self._passages.search().select(["id", "source", "text", "metadata"])
            search = search.where(condition) if condition else search
            return [_plain_document(row) for row in search.offset(offset).limit(limit).to_list()]

    def close(self) -> None:
        """Close the embedder."""
        if self._embedder is not None:
            self._embedder.close()

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """Exclude other writers while passages are added.

        Raises:
            ConflictError: another process is writing.
        """
        from filelock import Timeout

        try:
            with lock_file(self.folder / "lock", timeout=0, mode=0o600):
                yield
        except Timeout as error:
            raise ConflictError(
                f"Another process is writing to {self.folder}.", hint="Wait until it is done."
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Make files private, and one sentence of what the file system and Lance raise."""
        try:
            with private_files():
                yield
        except (OSError, RuntimeError) as error:
            reason = _reason(error)
            hint = "Check the folder's files and permissions."
            if _DISK_FULL.search(reason):
                hint = "Free disk space, then run it again; it goes on where it stopped."
            raise UnavailableError(f"The index in {self.folder} cannot be written ({reason}).", hint=hint) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, RerankdError):
                raise
            raise UnavailableError(
                f"The index in {self.folder} cannot be read ({_reason(error)}).",
                hint="Check the folder's files and permissions.",
                retry_after=5,
            ) from error


def _reason(error: Exception) -> str:
    """Return what the operating system said, where a message of Lance has it, else the message without its location."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = re.search(r"([^:]+) \(os error \d+\)", str(error))
    return said[1].strip() if said else re.sub(r", \S+\.rs:\d+.*", "", first_line(error))


def _document(row: dict[str, Any], score: float) -> Document:
    return with_score(_plain_document(row), float(score))


def _plain_document(row: dict[str, Any]) -> Document:
    return Document(row["text"], row["id"], {**orjson.loads(row["metadata"]), "source": row["source"]})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
