"""Units of work of a job, and their stored form: JSON that every version of a worker reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, TypeAdapter

from rerankd.jobs.job import Part
from rerankd.ranking.requests import build_request
from rerankd.types import Activation, Document, Fusion, FusionMethod, RerankRequest, SpanOptions, TruncationOverrides

PART_REQUESTS = 64
PART_DOCUMENTS = 256


@dataclass(frozen=True, slots=True)
class RankWork:
    """One ranking of a job.

    Attributes:
        request: what to rank; its `fairness_key`, `retry_key` and `timeout` come from the job and are not stored.
        texts: True if the result repeats the documents.
        returned: the documents as the result repeats them; None for their texts.
    """

    request: RerankRequest
    texts: bool = False
    returned: Sequence[Mapping[str, Any]] | None = None

    def returned_document(self, index: int) -> Mapping[str, Any]:
        """Return the document at a position of the request, as the result repeats it."""
        return {"text": self.request.documents[index].text} if self.returned is None else self.returned[index]

    @property
    def size(self) -> int:
        """Number of documents to score."""
        return len(self.request.documents)


@dataclass(frozen=True, slots=True)
class ScoreWork:
    """Pairs to score: queries, each with its documents. The result holds logits in the same shape."""

    groups: Sequence[tuple[str, Sequence[str]]]
    model: str | None = None
    truncation: TruncationOverrides = field(default_factory=TruncationOverrides)
    cache: bool = True

    @property
    def size(self) -> int:
        """Number of pairs to score."""
        return sum(len(documents) for _, documents in self.groups)


Work = RankWork | ScoreWork


def split_work(
    work: Iterable[Work], *, requests: int = PART_REQUESTS, documents: int = PART_DOCUMENTS
) -> Iterator[Part]:
    """Cut work into parts of bounded size; a request that is larger becomes a part of its own.

    Args:
        work: requests in order.
        requests: largest number of requests in one part.
        documents: largest number of documents in a part of more than one request.

    Example:
        >>> [part.requests for part in split_work([ScoreWork([("q", ["a"] * 200)])] * 3)]
        [1, 1, 1]
    """
    batch: list[Work] = []
    size = 0
    for request in work:
        if batch and (len(batch) >= requests or size + request.size > documents):
            yield Part(encode_work(batch), len(batch))
            batch, size = [], 0
        batch.append(request)
        size += request.size
    if batch:
        yield Part(encode_work(batch), len(batch))


def encode_work(work: Sequence[Work]) -> bytes:
    """Serialize requests as the payload of a part.

    Example:
        >>> encode_work([ScoreWork([("q", ["d"])])])
        b'[{"groups":[["q",["d"]]],"model":null,"policy":{},"cache":true}]'
    """
    return _RECORDS.dump_json([_record_of(request) for request in work], exclude_unset=True)


def decode_work(payload: bytes) -> list[Work]:
    """Read a payload that `encode_work` of this or an earlier version wrote.

    Raises:
        ValueError: it is not one.
    """
    return [_work_of(record) for record in _RECORDS.validate_json(payload)]


def _overridden(truncation: TruncationOverrides) -> dict[str, Any]:
    """Return only the options that differ from the model's own."""
    options: dict[str, Any] = _OVERRIDES.dump_python(truncation, exclude_defaults=True)
    return options


_OVERRIDES = TypeAdapter(TruncationOverrides)
_Overrides = Annotated[TruncationOverrides, PlainSerializer(_overridden)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _DocumentRecord(_Record):
    text: str
    id: str | int | None = None
    metadata: dict[str, Any] | None = None
    score: float | None = None  # in payloads from before documents had metadata


class _RankRecord(_Record):
    query: str
    documents: list[str | _DocumentRecord]
    top_n: int | None
    activation: Activation
    model: str | None
    policy: _Overrides  # the first name of truncation options; payloads keep it
    cache: bool
    threshold: float | None = None  # absent in payloads from before thresholds, and `fusion` from before fusion
    fusion: tuple[FusionMethod, float] | None = None
    texts: bool
    returned: list[dict[str, Any]] | None = None  # absent where the texts are enough
    priority: int | None = None  # absent, as the next one, where it is the default
    best_priority: int = 0
    strict: bool = False  # absent where it is not
    spans: tuple[float, int | None] | None = None  # threshold and max_spans; absent where none are asked for


class _ScoreRecord(_Record):
    groups: Sequence[tuple[str, Sequence[str]]]
    model: str | None
    policy: _Overrides
    cache: bool


# Error messages go to the log, which must not hold the texts of requests.
_RECORDS: TypeAdapter[list[_RankRecord | _ScoreRecord]] = TypeAdapter(
    list[_RankRecord | _ScoreRecord], config=ConfigDict(hide_input_in_errors=True)
)


def _record_of(work: Work) -> _RankRecord | _ScoreRecord:
    if isinstance(work, ScoreWork):
        return _ScoreRecord(groups=work.groups, model=work.model, policy=work.truncation, cache=work.cache)
    request = work.request
    optional: dict[str, Any] = {} if work.returned is None else {"returned": work.returned}
    if request.priority is not None:
        optional["priority"] = request.priority
    if request.best_priority:
        optional["best_priority"] = request.best_priority
    if request.strict:
        optional["strict"] = True
    if request.spans is not None:
        optional["spans"] = (request.spans.threshold, request.spans.max_spans)
    return _RankRecord(
        query=request.query,
        documents=[_document_record(document) for document in request.documents],
        top_n=request.top_n,
        activation=request.activation,
        model=request.model,
        policy=request.truncation,
        cache=request.cache,
        threshold=request.threshold,
        fusion=(request.fusion.method, request.fusion.weight) if request.fusion else None,
        texts=work.texts,
        **optional,
    )


def _document_record(document: Document) -> str | _DocumentRecord:
    """Return the text alone, or a record with the keys that are there."""
    keys: dict[str, Any] = {"id": document.id} if document.id is not None else {}
    if document.metadata:
        keys["metadata"] = document.metadata
    return _DocumentRecord(text=document.text, **keys) if keys else document.text


def _work_of(record: _RankRecord | _ScoreRecord) -> Work:
    if isinstance(record, _ScoreRecord):
        return ScoreWork(record.groups, record.model, record.policy, record.cache)
    request = build_request(
        query=record.query,
        documents=[_document(document) for document in record.documents],
        top_n=record.top_n,
        activation=record.activation,
        model=record.model,
        truncation=record.policy,
        cache=record.cache,
        threshold=record.threshold,
        fusion=Fusion(*record.fusion) if record.fusion else None,
        priority=record.priority,
        best_priority=record.best_priority,
        strict=record.strict,
        spans=SpanOptions(*record.spans) if record.spans else None,
    )
    return RankWork(request, record.texts, record.returned)


def _document(record: str | _DocumentRecord) -> Document:
    if isinstance(record, str):
        return Document(record)
    metadata = record.metadata or ({} if record.score is None else {"score": record.score})
    return Document(record.text, record.id, metadata)
