"""An index in Milvus, for clusters: the same words and the same fusion as the embedded one. Milvus Lite is a file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import orjson

from rerankd._common.optional import require
from rerankd._common.validation import plain_metadata
from rerankd.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from rerankd.retrieval.embedding import Embedder
from rerankd.retrieval.keywords import keywords
from rerankd.retrieval.retriever import DEFAULT_K, IndexedFile, IndexedPassage, reciprocal_rank_fusion, with_score
from rerankd.types import Document

PASSAGES, FILES = "rerankd_passages", "rerankd_files"
MAX_QUERY_KEYWORDS = 64
MAX_TEXT = 65_535  # bytes of a Milvus string
ROWS = 1000
MARK = "#embedding"  # a row of the files, whose digest is the embedding model's name
Result = TypeVar("Result")


class MilvusIndex:
    """Passages in Milvus.

    Args:
        url: `http://host:19530`, or the path of a file for Milvus Lite.
        token: `user:password` or an API key; empty for none.
        embedder: makes vectors; None for keywords alone.
        create: whether missing collections are made.

    Raises:
        NotFoundError: there are no collections, and none are to be made.
        ConflictError: they were made with another embedding model.
        UnavailableError: Milvus cannot be reached.
        MissingDependencyError: the extra `milvus` is not installed.
    """

    def __init__(self, url: str, token: str = "", embedder: Embedder | None = None, *, create: bool = False) -> None:
        self._milvus: Any = require("pymilvus", "milvus", "Milvus")
        self._embedder, self._url = embedder, url
        self._client = self._asked(lambda: self._milvus.MilvusClient(uri=url, token=token))
        there = self._asked(lambda: self._client.has_collection(PASSAGES))
        if not there and not create:
            raise NotFoundError(f"There is no index in {url}.", hint="Make one: rerankd index FOLDER")
        if not there:
            self._asked(self._create)
        self._asked(lambda: self._client.load_collection(FILES))
        [mark] = self._asked(lambda: self._client.get(FILES, ids=[MARK], output_fields=["digest"])) or [{}]
        made = mark.get("digest", "")
        if embedder is not None and made != embedder.name:
            raise ConflictError(
                f"The index in {url} was made with {made or 'no embedding model'}, not with {embedder.name}.",
                hint="Use the same embedding, or drop the collections.",
            )
        self._asked(lambda: self._client.load_collection(PASSAGES))

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
        files.add_field("none", kinds.FLOAT_VECTOR, dim=2)  # Milvus wants a vector in every collection
        other = client.prepare_index_params()
        other.add_index("none", index_type="AUTOINDEX", metric_type="L2")
        client.create_collection(FILES, schema=files, index_params=other)
        if embedder is not None:
            client.insert(FILES, [{"source": MARK, "digest": embedder.name, "passages": -1, "none": [0.0, 0.0]}])

    def __len__(self) -> int:
        found = self._asked(lambda: self._client.query(PASSAGES, filter="part >= 0", output_fields=["count(*)"]))
        return int(found[0]["count(*)"])

    def files(self) -> dict[str, IndexedFile]:
        """The files that are in the index completely, by name."""
        rows = self._each(FILES, "passages >= 0", ["source", "digest", "passages"])
        return {row["source"]: IndexedFile(row["source"], row["digest"], row["passages"]) for row in rows}

    def sources(self) -> dict[tuple[str, str], int]:
        """Passages by file and digest, of incomplete files too."""
        counts: dict[tuple[str, str], int] = {}
        for row in self._each(PASSAGES, "part >= 0", ["source", "digest"]):
            counts[row["source"], row["digest"]] = counts.get((row["source"], row["digest"]), 0) + 1
        return counts

    def add(self, rows: Sequence[IndexedPassage], complete: Sequence[IndexedFile] = ()) -> None:
        """Put passages in, then say which files are complete."""
        for start in range(0, len(rows), ROWS):
            data = self._data(rows[start : start + ROWS])
            self._asked(partial(self._client.upsert, PASSAGES, data))
        if complete:
            done = [
                {"source": f.source, "digest": f.digest, "passages": f.passages, "none": [0.0, 0.0]} for f in complete
            ]
            self._asked(lambda: self._client.flush(PASSAGES))
            self._asked(lambda: self._client.upsert(FILES, done))

    def _data(self, rows: Sequence[IndexedPassage]) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = [
            {
                "id": row.id,
                "source": row.source,
                "digest": row.digest,
                "part": row.part,
                "text": _bounded(row.text),
                "metadata": _bounded(orjson.dumps(plain_metadata(row.metadata)).decode(), "{}"),
                "words": _bounded(" ".join(keywords(row.text))),
            }
            for row in rows
        ]
        if self._embedder is not None:
            vectors = np.asarray(self._embedder.embed([row.text for row in rows], "passage"), np.float32)
            for entry, vector in zip(data, vectors.tolist(), strict=True):
                entry["vector"] = vector
        return data

    def remove(self, sources: Iterable[str], keep: str | None = None) -> None:
        """Take files out; those passages that have the digest `keep` stay."""
        named = list(sources)
        for start in range(0, len(named), 100):
            listed = orjson.dumps(named[start : start + 100]).decode()
            but = f" and digest != {orjson.dumps(keep).decode()}" if keep else ""
            self._asked(partial(self._client.delete, FILES, filter=f"source in {listed}"))
            self._asked(partial(self._client.delete, PASSAGES, filter=f"source in {listed}{but}"))

    def refresh(self) -> None:
        """Make what was put in visible to everyone."""
        for name in (PASSAGES, FILES):
            self._asked(partial(self._client.flush, name))

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """Nobody is kept out: rows are put in by name, so two writers of the same files end in the same index."""
        yield

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """The passages that match best: by keywords, and by vectors where there are some, fused by reciprocal ranks."""
        if not query.strip():
            raise InvalidRequestError("The query is empty.", hint="Ask something.")
        words = " ".join(list(dict.fromkeys(keywords(query)))[:MAX_QUERY_KEYWORDS])
        found = self._found("sparse", words, k) if words else []
        if self._embedder is None:
            return found
        [vector] = self._embedder.embed([query], "query")
        return reciprocal_rank_fusion([found, self._found("vector", vector.tolist(), k)], k)

    def _found(self, field: str, asked: Any, k: int) -> list[Document]:
        wanted = ["source", "text", "metadata"]
        [hits] = self._asked(
            lambda: self._client.search(PASSAGES, data=[asked], anns_field=field, limit=k, output_fields=wanted)
        )
        return [_document(hit) for hit in hits]

    def _each(self, name: str, wanted: str, fields: list[str]) -> list[dict[str, Any]]:
        """Rows of a collection, a few thousand at a time."""

        def read() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = []
            pages = self._client.query_iterator(name, batch_size=ROWS, filter=wanted, output_fields=fields)
            while page := pages.next():
                rows += page
            pages.close()
            return rows

        return self._asked(read)

    def rows(self) -> list[dict[str, Any]]:
        """Everything in it but vectors, by source and part; for tests and exports."""
        found = self._each(PASSAGES, "part >= 0", ["id", "source", "part", "digest", "text", "metadata"])
        return sorted(found, key=lambda row: (row["source"], row["part"]))

    def _asked(self, what: Callable[[], Result]) -> Result:
        try:
            return what()
        except (self._milvus.MilvusException, OSError) as error:
            raise UnavailableError(
                f"Milvus at {self._url} cannot be used ({str(error).splitlines()[0][:200]}).",
                hint="Check milvus_url and milvus_token, and that it runs.",
                retry_after=5,
            ) from error

    def close(self) -> None:
        """Close its connection."""
        self._client.close()
        if self._embedder is not None:
            self._embedder.close()


def _document(hit: dict[str, Any]) -> Document:
    row = hit["entity"]
    about = orjson.loads(row["metadata"])
    # Milvus Lite gives BM25 as a distance, below 0; the server as a score.
    return with_score(Document(row["text"], hit["id"], {**about, "source": row["source"]}), abs(float(hit["distance"])))


def _bounded(text: str, otherwise: str | None = None) -> str:
    """A text that a Milvus string can hold."""
    data = text.encode()
    if len(data) <= MAX_TEXT:
        return text
    return data[:MAX_TEXT].decode(errors="ignore") if otherwise is None else otherwise
