"""The index that comes with rerankd: a LanceDB table in a folder, keywords always, vectors where a model is configured.

Keywords are cut by us (`keywords.py`), so that Chinese needs no dictionary, and ranked by Lance's BM25. What is in the
index is told by the table itself: each row carries the hash of the file it came from, and a second table says which
files are complete, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from rerankd._common.files import lock_file
from rerankd._common.optional import require
from rerankd._common.validation import plain_metadata
from rerankd.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from rerankd.retrieval.embedding import Embedder
from rerankd.retrieval.keywords import keywords
from rerankd.retrieval.retriever import DEFAULT_K, IndexedFile, IndexedPassage, reciprocal_rank_fusion, with_score
from rerankd.types import Document

PASSAGES, FILES = "passages", "files"
MAX_QUERY_KEYWORDS = 64
OLD = timedelta(minutes=1)  # states of the table that no reader looks at any more: each question takes the newest
VECTOR_ROWS = 20_000  # below it every vector is compared, which is exact and fast enough


class LanceIndex:
    """A folder with passages. One process writes at a time; any number read.

    Args:
        folder: where it is, or shall be.
        embedder: makes vectors of passages and queries; None for keywords alone.
        create: whether a missing index is made.

    Raises:
        NotFoundError: there is no index, and none is to be made.
        ConflictError: the index was made with another embedding model.
        MissingDependencyError: the extra `rag` is not installed.
    """

    def __init__(self, folder: Path, embedder: Embedder | None = None, *, create: bool = False) -> None:
        self._lance: Any = require("lancedb", "rag", "The index")
        self._arrow: Any = require("pyarrow", "rag", "The index")
        if not create and not (folder / f"{PASSAGES}.lance").exists():
            raise NotFoundError(f"There is no index in {folder}.", hint="Make one: rerankd index FOLDER")
        self.folder, self._embedder = folder, embedder
        folder.mkdir(parents=True, exist_ok=True)
        self._db = self._lance.connect(str(folder))
        self._passages, self._files = self._opened(create)
        self._lock = threading.Lock()

    def _opened(self, create: bool) -> tuple[Any, Any]:
        arrow = self._arrow
        names = {path.stem for path in self.folder.glob("*.lance")}
        width = self._embedder.dimensions if self._embedder else 0
        if PASSAGES not in names:
            vector = [arrow.field("vector", arrow.list_(arrow.float32(), width))] if width else []
            about = {b"embedding": self._embedder.name.encode()} if self._embedder else {}
            texts = [
                arrow.field(name, arrow.string()) for name in ("id", "source", "digest", "text", "words", "metadata")
            ]
            schema = arrow.schema([*texts, arrow.field("part", arrow.int32()), *vector], metadata=about)
            self._db.create_table(PASSAGES, schema=schema)
        if FILES not in names:
            fields = [arrow.field(name, arrow.string()) for name in ("source", "digest")]
            self._db.create_table(FILES, schema=arrow.schema([*fields, arrow.field("passages", arrow.int64())]))
        passages = self._db.open_table(PASSAGES)
        made = (passages.schema.metadata or {}).get(b"embedding", b"").decode()
        wanted = self._embedder.name if self._embedder else ""
        if self._embedder is not None and made != wanted:
            raise ConflictError(
                f"The index in {self.folder} was made with {made or 'no embedding model'}, not with {wanted}.",
                hint="Use the same embedding, or index into another folder.",
            )
        return passages, self._db.open_table(FILES)

    def __len__(self) -> int:
        return int(self._passages.count_rows())

    def files(self) -> dict[str, IndexedFile]:
        """The files that are in the index completely, by name."""
        rows = self._files.to_arrow().to_pylist()
        return {row["source"]: IndexedFile(row["source"], row["digest"], row["passages"]) for row in rows}

    def sources(self) -> dict[tuple[str, str], int]:
        """Passages by file and digest, of incomplete files too."""
        table = self._passages.search().select(["source", "digest"]).limit(len(self) or 1).to_arrow()
        if not table.num_rows:
            return {}
        counted = table.group_by(["source", "digest"]).aggregate([("source", "count")]).to_pylist()
        return {(row["source"], row["digest"]): int(row["source_count"]) for row in counted}

    def add(self, rows: Sequence[IndexedPassage], complete: Sequence[IndexedFile] = ()) -> None:
        """Put passages in, then say which files are complete; each in one step, both or the first alone are there."""
        if rows:
            self._passages.add(self._table(rows))
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
        """Take files out; those passages that have the digest `keep` stay."""
        named = list(sources)
        for start in range(0, len(named), 500):
            listed = ", ".join(_quoted(source) for source in named[start : start + 500])
            but = f" AND digest != {_quoted(keep)}" if keep else ""
            self._files.delete(f"source IN ({listed})")
            self._passages.delete(f"source IN ({listed}){but}")

    def refresh(self) -> None:
        """Bring the indexes up to what is in the table, and its files together."""
        kinds: Any = require("lancedb.index", "rag", "The index")
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
            table.optimize(cleanup_older_than=OLD)

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """The passages that match best: by keywords, and by vectors where there are some, fused by reciprocal ranks.

        Raises:
            UnavailableError: the index cannot be read now.
        """
        if not query.strip():
            raise InvalidRequestError("The query is empty.", hint="Ask something.")
        try:
            with self._lock:  # sees what another process has put in since
                self._passages.checkout_latest()
            found = self._by_keywords(query, k)
            if self._embedder is None:
                return found[:k]
            return reciprocal_rank_fusion([found, self._by_vector(query, k)], k)
        except (OSError, RuntimeError) as error:
            raise UnavailableError(
                f"The index in {self.folder} cannot be read ({_first(error)}).",
                hint="Look at its files.",
                retry_after=5,
            ) from error

    def _by_keywords(self, query: str, k: int) -> list[Document]:
        words = list(dict.fromkeys(keywords(query)))[:MAX_QUERY_KEYWORDS]
        if not words or not len(self):
            return []
        asking = self._passages.search(" ".join(words), query_type="fts", fts_columns="words")
        rows = asking.select(["id", "source", "text", "metadata", "_score"]).limit(k).to_list()
        return [_document(row, row["_score"]) for row in rows]

    def _by_vector(self, query: str, k: int) -> list[Document]:
        if self._embedder is None or not len(self):
            return []
        [vector] = self._embedder.embed([query], "query")
        asking = self._passages.search(np.asarray(vector, np.float32), vector_column_name="vector", query_type="vector")
        rows = (
            asking.distance_type("cosine").select(["id", "source", "text", "metadata", "_distance"]).limit(k).to_list()
        )
        return [_document(row, 1 - row["_distance"]) for row in rows]

    def rows(self) -> list[dict[str, Any]]:
        """Everything in it but vectors, by source and part; for tests and exports."""
        kept = ["id", "source", "part", "digest", "text", "metadata"]
        table = self._passages.search().select(kept).limit(len(self) or 1).to_arrow()
        found: list[dict[str, Any]] = table.to_pylist()
        return sorted(found, key=lambda row: (row["source"], row["part"]))

    def close(self) -> None:
        """Let go of it."""
        if self._embedder is not None:
            self._embedder.close()

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """Keep other writers out while something is put in.

        Raises:
            ConflictError: another process writes.
        """
        from filelock import Timeout

        try:
            with lock_file(self.folder / "lock", timeout=0):
                yield
        except Timeout as error:
            raise ConflictError(f"Another process writes to {self.folder}.", hint="Wait until it is done.") from error


def _document(row: dict[str, Any], score: float) -> Document:
    about = orjson.loads(row["metadata"])
    return with_score(Document(row["text"], row["id"], {**about, "source": row["source"]}), float(score))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
