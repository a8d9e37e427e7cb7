"""What a job is: many rankings or scorings, cut into parts that workers take one at a time.

    queued -> running -> succeeded | failed
       `---------`-----> cancelled | expired

A job has `failed` when a request of it has no result; the others' results are there. `rerankd jobs retry` queues the
failed parts again.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from rerankd.types import Document, Fusion, RerankRequest, TruncationOverrides

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
Priority = Literal["interactive", "bulk"]
STATES: tuple[State, ...] = get_args(State)
FINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "expired"})
PART_REQUESTS = 64
PART_DOCUMENTS = 256


@dataclass(frozen=True, slots=True)
class RankWork:
    """One ranking of a job.

    Attributes:
        request: what to rank; its `fairness_key`, `retry_key` and `timeout` are the job's, not kept here.
        texts: whether the result repeats the documents' texts.
    """

    request: RerankRequest
    texts: bool = False

    @property
    def size(self) -> int:
        """Documents to score."""
        return len(self.request.documents)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        request = self.request
        return {
            "query": request.query,
            "documents": [_held(document) for document in request.documents],
            "top_n": request.top_n,
            "activation": request.activation,
            "model": request.model,
            "policy": _changed(request.truncation),
            "cache": request.cache,
            "threshold": request.threshold,
            "fusion": [request.fusion.method, request.fusion.weight] if request.fusion else None,
            "texts": self.texts,
        }

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> RankWork:
        """As it was."""
        request = RerankRequest(
            held["query"],
            [_document(one) for one in held["documents"]],
            held["top_n"],
            held["activation"],
            held["model"],
            TruncationOverrides(**held["policy"]),
            cache=held["cache"],
            threshold=held.get("threshold"),  # not there in jobs of before it was
            fusion=Fusion(*held["fusion"]) if held.get("fusion") else None,
        )
        return cls(request, held["texts"])


@dataclass(frozen=True, slots=True)
class ScoreWork:
    """Pairs to score, given as queries, each with its documents; the result holds logits in the same shape."""

    groups: Sequence[tuple[str, Sequence[str]]]
    model: str | None = None
    truncation: TruncationOverrides = field(default_factory=TruncationOverrides)
    cache: bool = True

    @property
    def size(self) -> int:
        """Pairs to score."""
        return sum(len(documents) for _, documents in self.groups)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {"groups": self.groups, "model": self.model, "policy": _changed(self.truncation), "cache": self.cache}

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> ScoreWork:
        """As it was."""
        groups = [(query, documents) for query, documents in held["groups"]]
        return cls(groups, held["model"], TruncationOverrides(**held["policy"]), held["cache"])


Work = RankWork | ScoreWork


@dataclass(frozen=True, slots=True)
class Part:
    """Some requests of a job, worked together.

    Attributes:
        payload: the requests, as `encode_work` writes them.
        requests: how many.
    """

    payload: bytes
    requests: int


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be kept.

    Attributes:
        id: its name; nobody can guess it.
        parts: its requests in order.
        owner: id of the key that it belongs to; empty where no keys are needed.
        priority: `interactive` goes before `bulk`.
        timeout: seconds after which what was not begun is not done; None for no limit.
        webhook: where its end is announced.
        idempotency: the caller's own name for this submission.
        fingerprint: of the submission, so that one name is not used for two.
    """

    id: str
    parts: Sequence[Part]
    owner: str = ""
    priority: Priority = "interactive"
    timeout: float | None = None
    webhook: str | None = None
    idempotency: str | None = None
    fingerprint: str = ""

    @property
    def size(self) -> int:
        """Bytes of its requests."""
        return sum(len(part.payload) for part in self.parts)

    @property
    def requests(self) -> int:
        """Requests of all parts."""
        return sum(part.requests for part in self.parts)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. Times are seconds since 1970, 0 for not yet.

    Attributes:
        total: requests; `done` of them have a result, `failed` an error.
        webhook: where its end is announced, with `webhook_state` pending, delivered or failed.
    """

    id: str
    state: State
    owner: str
    priority: Priority
    created: float
    total: int
    done: int = 0
    failed: int = 0
    parts: int = 1
    started: float = 0.0
    finished: float = 0.0
    deadline: float = 0.0
    error: str = ""
    webhook: str = ""
    webhook_state: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing of it will change by itself."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Claim:
    """A part in a worker's hands.

    Attributes:
        token: proves that it is still this worker's.
        attempt: which try this is, from 1.
        requests: how many it holds.
        deadline: seconds since 1970; 0 for none.
    """

    job: str
    part: int
    token: str
    payload: bytes
    attempt: int
    requests: int = 1
    owner: str = ""
    priority: Priority = "interactive"
    deadline: float = 0.0


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """An end that is to be announced; `attempts` were made."""

    job: Job
    attempts: int


def new_id() -> str:
    """A name for a job.

    Example:
        >>> new_id().startswith("job_")
        True
    """
    return f"job_{secrets.token_urlsafe(18)}"


def split_work(
    work: Iterable[Work], *, requests: int = PART_REQUESTS, documents: int = PART_DOCUMENTS
) -> Iterator[Part]:
    """Cut work into parts of bounded size; a request larger than that is a part of its own.

    Example:
        >>> [part.requests for part in split_work([ScoreWork([("q", ["a"] * 200)])] * 3)]
        [1, 1, 1]
    """
    held: list[Work] = []
    size = 0
    for one in work:
        if held and (len(held) >= requests or size + one.size > documents):
            yield Part(encode_work(held), len(held))
            held, size = [], 0
        held.append(one)
        size += one.size
    if held:
        yield Part(encode_work(held), len(held))


def encode_work(work: Sequence[Work]) -> bytes:
    """Requests as bytes."""
    return orjson.dumps([one.to_json() for one in work])


def decode_work(payload: bytes) -> list[Work]:
    """What `encode_work` wrote."""
    return [ScoreWork.from_json(one) if "groups" in one else RankWork.from_json(one) for one in orjson.loads(payload)]


def _held(document: Document) -> str | dict[str, Any]:
    """A text alone, or with what rules and its trace need beside it."""
    named: dict[str, Any] = {"id": document.id} if document.id is not None else {}
    if document.metadata:
        named["metadata"] = dict(document.metadata)
    return {"text": document.text} | named if named else document.text


def _document(held: str | Mapping[str, Any]) -> Document:
    if isinstance(held, str):
        return Document(held)
    about = held.get("metadata") or ({"score": held["score"]} if "score" in held else {})  # as jobs of before kept it
    return Document(held["text"], held.get("id"), about)


def _changed(truncation: TruncationOverrides) -> dict[str, Any]:
    usual = TruncationOverrides()
    values = {entry.name: getattr(truncation, entry.name) for entry in dataclasses.fields(truncation)}
    return {name: value for name, value in values.items() if value != getattr(usual, name)}
