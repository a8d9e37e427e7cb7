"""An index in Milvus, for clusters, with the keywords and fusion of the embedded index. Milvus Lite is one file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import orjson

from rerankd._common.error_text import first_line
from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd._common.validation import plain_metadata, to_query
from rerankd.errors import ConflictError, NotFoundError, UnavailableError
from rerankd.retrieval.embedding import Embedder
from rerankd.retrieval.keywords import keywords, query_keywords
from rerankd.retrieval.retriever import DEFAULT_K, IndexedFile, IndexedPassage, reciprocal_rank_fusion, with_score
from rerankd.types import Document

_log = logger(__name__)

PASSAGES, FILES = "rerankd_passages", "rerankd_files"
MAX_TEXT = 65_535  # maximum bytes of a Milvus string
BATCH_ROWS = 1000
MARKER = "#embedding"  # id of a row of FILES whose digest is the name of the embedding model
Result = TypeVar("Result")


class MilvusIndex:
    """An index in Milvus.

    Args:
        url: `http://host:19530`, or a file path for Milvus Lite.
        token: `user:password` or an API key; empty for none.
        embedder: embeds passages and queries; None for keywords alone.
        create: True to create the collections if they do not exist.

    Raises:
        NotFoundError: the collections do not exist and `create` is False.
        ConflictError: the index was built with another embedding model.
        UnavailableError: Milvus cannot be reached.
        MissingDependencyError: the extra `milvus` is not installed.
    """

    def __init__(self, url: str, token: str = "", embedder: Embedder | None = None, *, create: bool = False) -> None:
        self._milvus: Any = require("pymilvus", "milvus", "Milvus")
        self._embedder, self._url = embedder, url
        self._client = self._call(lambda: self._milvus.MilvusClient(uri=url, token=token))
        exists = self._call(lambda: self._client.has_collection(PASSAGES))
        if not exists and not create:
            raise NotFoundError(f"There is no index in {url}.", hint="Create one: rerankd index FOLDER")
        if not exists:
            self._call(self._create)
        self._call(lambda: self._client.load_collection(FILES))
        [marker] = self._call(lambda: self._client.get(FILES, ids=[MARKER], output_fields=["digest"])) or [{}]
        built_with = marker.get("digest", "")
        if embedder is not None and built_with != embedder.name:
            raise ConflictError(
                f"The index in {url} was built with {built_with or 'no embedding model'}, not with {embedder.name}.",
                hint="Use the same embedding model, or drop the collections.",
            )
        self._call(lambda: self._client.load_collection(PASSAGES))

    def _create(self) -> None:
        kinds = self._milvus.DataType
        client, embedder = self._client, self._embedder
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", kinds.VARCHAR, max_length=2048, is_primary=True)
        for name in ("source", "digest"):
            schema.add_field(name, kinds.VARCHAR, max_length=2048)
        schema.add_field("part", kinds.INT64)
        for name in ("text", "metadata"):
            schema.add_field(name, kinds.VARCHAR, max_length=MAX_TEXT)
        analyzer = {"tokenizer": "standard", "filter": ["lowercase", {"type": "stemmer", "language": "english"}]}
        schema.add_field("words", kinds.VARCHAR, max_length=MAX_TEXT, enable_analyzer=True, analyzer_params=analyzer)
        schema.add_field("sparse", kinds.SPARSE_FLOAT_VECTOR)
        bm25 = self._milvus.FunctionType.BM25
        function = self._milvus.Function(
            name="bm25", input_field_names=["words"], output_field_names=["sparse"], function_type=bm25
        )
        schema.add_function(function)
        indexes = client.prepare_index_params()
        indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
        if embedder is not None:
            schema.add_field("vector", kinds.FLOAT_VECTOR, dim=embedder.dimensions)
            indexes.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
        client.create_collection(PASSAGES, schema=schema, index_params=indexes)
        files = client.create_schema(auto_id=False, enable_dynamic_field=False)
        files.add_field("source", kinds.VARCHAR, max_length=2048, is_primary=True)
        files.add_field("digest", kinds.VARCHAR, max_length=2048)
        files.add_field("passages", kinds.INT64)
        files.add_field("none", kinds.FLOAT_VECTOR, dim=2)  # Milvus requires a vector in every collection
        file_indexes = client.prepare_index_params()
        file_indexes.add_index("none", index_type="AUTOINDEX", metric_type="L2")
        client.create_collection(FILES, schema=files, index_params=file_indexes)
        if embedder is not None:
            client.insert(FILES, [{"source": MARKER, "digest": embedder.name, "passages": -1, "none": [0.0, 0.0]}])

    def __len__(self) -> int:
        [row] = self._call(lambda: self._client.query(PASSAGES, filter="part >= 0", output_fields=["count(*)"]))
        return int(row["count(*)"])

    def files(self) -> dict[str, IndexedFile]:
        """Return the completely indexed files by name."""
        rows = self._query_all(FILES, "passages >= 0", ["source", "digest", "passages"])
        return {row["source"]: IndexedFile(row["source"], row["digest"], row["passages"]) for row in rows}

    def sources(self) -> dict[tuple[str, str], int]:
        """Return the number of passages by file and digest, partly indexed files included."""
        counts: dict[tuple[str, str], int] = {}
        for row in self._query_all(PASSAGES, "part >= 0", ["source", "digest"]):
            counts[row["source"], row["digest"]] = counts.get((row["source"], row["digest"]), 0) + 1
        return counts

    def add(self, rows: Sequence[IndexedPassage], complete: Sequence[IndexedFile] = ()) -> None:
        """Add passages, then mark the files that are complete."""
        for start in range(0, len(rows), BATCH_ROWS):
            data = self._data(rows[start : start + BATCH_ROWS])
            self._call(partial(self._client.upsert, PASSAGES, data))
        if complete:
            files = [
                {"source": f.source, "digest": f.digest, "passages": f.passages, "none": [0.0, 0.0]} for f in complete
            ]
            self._call(lambda: self._client.flush(PASSAGES))
            self._call(lambda: self._client.upsert(FILES, files))

    def _data(self, rows: Sequence[IndexedPassage]) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = [
            {
                "id": row.id,
                "source": row.source,
                "digest": row.digest,
                "part": row.part,
                "text": _bounded(row.text, f"A passage of {row.source}"),
                "metadata": _bounded_metadata(row),
                "words": _bounded(" ".join(keywords(row.text)), f"The keywords of a passage of {row.source}"),
            }
            for row in rows
        ]
        if self._embedder is not None:
            vectors = np.asarray(self._embedder.embed([row.text for row in rows], "passage"), np.float32)
            for entry, vector in zip(data, vectors.tolist(), strict=True):
                entry["vector"] = vector
        return data

    def remove(self, sources: Iterable[str], keep: str | None = None) -> None:
        """Remove files from the index, except for passages with the digest `keep`."""
        names = list(sources)
        for start in range(0, len(names), 100):
            batch = orjson.dumps(names[start : start + 100]).decode()
            kept = f" and digest != {orjson.dumps(keep).decode()}" if keep else ""
            self._call(partial(self._client.delete, FILES, filter=f"source in {batch}"))
            self._call(partial(self._client.delete, PASSAGES, filter=f"source in {batch}{kept}"))

    def refresh(self) -> None:
        """Flush both collections, so that every reader sees the additions."""
        for name in (PASSAGES, FILES):
            self._call(partial(self._client.flush, name))

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """Exclude nobody: rows are upserted by id, so that two writers of the same files give the same index."""
        yield

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """Return the best passages by keywords, fused with those by vectors where the index has vectors (RRF).

        Raises:
            InvalidRequestError: the query is empty.
            UnavailableError: Milvus cannot be reached.
        """
        query = to_query(query)
        words = " ".join(query_keywords(query))
        documents = self._search_field("sparse", words, k) if words else []
        if self._embedder is None:
            return documents
        [vector] = self._embedder.embed([query], "query")
        return reciprocal_rank_fusion([documents, self._search_field("vector", vector.tolist(), k)], k)

    def _search_field(self, field: str, query: str | list[float], k: int) -> list[Document]:
        columns = ["source", "text", "metadata"]
        [hits] = self._call(
            lambda: self._client.search(PASSAGES, data=[query], anns_field=field, limit=k, output_fields=columns)
        )
        return [_document(hit) for hit in hits]

    def _query_all(self, name: str, condition: str, columns: list[str]) -> list[dict[str, Any]]:
        """Return all rows of a collection that meet a condition, reading page by page."""

        def read() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = []
            pages = self._client.query_iterator(name, batch_size=BATCH_ROWS, filter=condition, output_fields=columns)
            while page := pages.next():
                rows += page
            pages.close()
            return rows

        return self._call(read)

    def rows(self, source: str | None = None) -> list[dict[str, Any]]:
        """Return the passages of a file, or of all files, without vectors, sorted by source and part."""
        condition = "part >= 0" if source is None else f"source == {orjson.dumps(source).decode()}"
        rows = self._query_all(PASSAGES, condition, ["id", "source", "part", "digest", "text", "metadata"])
        return sorted(rows, key=lambda row: (row["source"], row["part"]))

    def read(self, identity: str) -> Document | None:
        """Return a passage by its id; None if there is none."""
        rows = self._read_rows(1, 0, f"id == {orjson.dumps(identity).decode()}")
        return rows[0] if rows else None

    def page(self, offset: int, limit: int) -> list[Document]:
        """Return the passages from a position on, in the order in which the index holds them.

        Raises:
            UnavailableError: Milvus cannot be reached, or skips no more than 16,384 passages.
        """
        return self._read_rows(limit, offset, "part >= 0")

    def _read_rows(self, limit: int, offset: int, condition: str) -> list[Document]:
        columns = ["id", "source", "text", "metadata"]
        rows = self._call(
            lambda: self._client.query(PASSAGES, filter=condition, output_fields=columns, limit=limit, offset=offset)
        )
        return [
            Document(row["text"], row["id"], {**orjson.loads(row["metadata"]), "source": row["source"]}) for row in rows
        ]

    def _call(self, operation: Callable[[], Result]) -> Result:
        try:
            return operation()
        except (self._milvus.MilvusException, OSError) as error:
            raise UnavailableError(
                f"Milvus at {self._url} cannot be used ({first_line(error)}).",
                hint="Check milvus_url and milvus_token, and that Milvus is running.",
                retry_after=5,
            ) from error

    def close(self) -> None:
        """Close the connection and the embedder."""
        self._client.close()
        if self._embedder is not None:
            self._embedder.close()


def _document(hit: dict[str, Any]) -> Document:
    row = hit["entity"]
    metadata = orjson.loads(row["metadata"])
    # Milvus Lite returns BM25 as a negative distance; the server, as a score.
    return with_score(
        Document(row["text"], hit["id"], {**metadata, "source": row["source"]}), abs(float(hit["distance"]))
    )


def _bounded(text: str, name: str) -> str:
    """Return the text, truncated if it is too long for a Milvus string, which the log then says of what is named."""
    data = text.encode()
    if len(data) <= MAX_TEXT:
        return text
    _log.warning("%s is cut: Milvus holds %d bytes of its %d.", name, MAX_TEXT, len(data))
    return data[:MAX_TEXT].decode(errors="ignore")


def _bounded_metadata(row: IndexedPassage) -> str:
    """Return the metadata as JSON, without the longest values if it is too long, which the log then names."""
    metadata, left_out = plain_metadata(row.metadata), []
    while len(text := orjson.dumps(metadata)) > MAX_TEXT:
        longest = max(metadata, key=lambda name: len(orjson.dumps(metadata[name])) + len(name))
        left_out.append(longest)
        del metadata[longest]
    if left_out:
        _log.warning("Metadata of %s too long for Milvus are left out: %s.", row.source, ", ".join(left_out)[:200])
    return text.decode()
