"""The values that travel between the packages: frozen dataclasses, almost without behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from rerankd._result_views import ResultViews

Activation = Literal["sigmoid", "none", "softmax"]
Truncation = Literal["only_second", "longest_first"]
TruncationSide = Literal["right", "left"]
LongDocuments = Literal["truncate", "chunk"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
FusionMethod = Literal["weighted", "rrf"]

MAX_INSTRUCTION = 4096  # characters


@dataclass(frozen=True, slots=True)
class Document:
    """One candidate of a ranking.

    Attributes:
        text: text that the model reads.
        id: id in the caller's own system, a string or a number, returned unchanged.
        metadata: any other data, returned unchanged; rules read it, and fusion reads its `score`.
    """

    text: str
    id: str | int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Pair(NamedTuple):
    """A query and one document's text: the unit of scoring."""

    query: str
    document: str


@dataclass(frozen=True, slots=True)
class TruncationOverrides:
    """Truncation and instruction of one request where they differ from the model's; None keeps the model's value.

    Attributes:
        max_length: longest pair in tokens, special tokens included.
        truncation: text that is cut when a pair is too long.
        truncation_side: end at which a text is cut.
        long_documents: treatment of documents that do not fit.
        chunk_overlap: tokens that neighbouring chunks share.
        max_chunks: chunks of one document that are read at most.
        max_query_tokens: tokens of the query that are read at most.
        max_document_tokens: tokens of a document that are read at most.
        allow_truncation: False rejects a request if any of its text would be cut.
        instruction: what counts as relevant, for models that read an instruction.
    """

    max_length: int | None = None
    truncation: Truncation | None = None
    truncation_side: TruncationSide | None = None
    long_documents: LongDocuments | None = None
    chunk_overlap: int | None = None
    max_chunks: int | None = None
    max_query_tokens: int | None = None
    max_document_tokens: int | None = None
    allow_truncation: bool = True
    instruction: str | None = None

    @property
    def identity(self) -> str:
        """Text that identifies the overrides in the checkpoints of bulk runs."""
        options = repr(self).removeprefix(type(self).__name__)
        # Without an instruction the text is that of versions that knew none, so that their runs resume.
        return options.removesuffix(", instruction=None)") + ")" if self.instruction is None else options


@dataclass(frozen=True, slots=True)
class Fusion:
    """Fusion of the model's ranking with that of the first stage; returned scores stay the model's.

    Attributes:
        method: `weighted` adds scores that are standardized within the request; `rrf` is reciprocal rank fusion
            (Cormack, Clarke and Buettcher 2009).
        weight: weight of the first stage; the model's is 1.
    """

    method: FusionMethod = "weighted"
    weight: float = 0.5


@dataclass(frozen=True, slots=True)
class SpanOptions:
    """Request for the sentences of the returned documents that answer the query, see `Span`.

    Attributes:
        threshold: lowest sigmoid score of a sentence that is returned, from 0 to 1, whatever the activation.
        max_spans: sentences of one document that are returned at most, the best ones; None for no limit.
    """

    threshold: float = 0.1
    max_spans: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A sentence of a document, scored with the query as a document of its own.

    Attributes:
        start: position of its first character in the document's text, in Unicode code points.
        end: position behind its last character: `text[start:end]` is the sentence.
        score: its activated score, that of `Reranker.score` for the query and the sentence.
    """

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class MatchedRule:
    """A rule that acted on a document.

    Attributes:
        rule: name of the rule.
        action: `boost`, `bury`, `pin` or `filter`.
        weight: logits by which it moved the document; the position for `pin`, 0 for `filter`.
    """

    rule: str
    action: str
    weight: float


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The combined effect of the rules on one document.

    Attributes:
        boost: logits added to the model's score; negative moves the document down.
        pin_to: position the document is pinned to, from 1; 0 for no pin.
        filtered: True if the document is removed from the results.
        matched_rules: rules that acted on the document, in the order of the rule file.
    """

    boost: float = 0.0
    pin_to: int = 0
    filtered: bool = False
    matched_rules: tuple[MatchedRule, ...] = ()


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A request to rank documents.

    Attributes:
        query: the query.
        documents: the candidates.
        top_n: number of documents to return; None returns all.
        activation: activation of the returned scores.
        model: name of the model; None for the default.
        truncation: overrides of the model's truncation.
        timeout: time limit in seconds; None for no limit.
        fairness_key: tenant in the engine's queue; tenants share a model's computing time equally.
        retry_key: the same text when the same request is sent again.
        cache: False makes the engine score afresh instead of using cached scores.
        background: True for work that nobody waits for; it has a small part of the queue for itself.
        request_id: id of the request in traces, feedback and logs; empty for none.
        tenant: id of the API key; rules and traces use it; empty for none.
        source: origin of the request: `http`, `job` or `library`.
        threshold: lowest sigmoid score of a document that is returned, from 0 to 1; None returns all.
        fusion: fusion with the first stage's ranking; None for none.
        user: id of the user in the caller's system; keeps the assignment to variants sticky; empty for none.
        session: id of the visit, for the same purpose.
        priority: urgency in the engine's queue, from 0, the most urgent, to 999; None for the best that it may have.
        best_priority: most urgent priority that the request may have.
        strict: True refuses the request where the model cannot honour a field, such as an instruction.
        spans: request for the sentences that answer the query; None for none.
    """

    query: str
    documents: Sequence[Document]
    top_n: int | None = None
    activation: Activation = "sigmoid"
    model: str | None = None
    truncation: TruncationOverrides = field(default_factory=TruncationOverrides)
    timeout: float | None = None
    fairness_key: str = ""
    retry_key: str = ""
    cache: bool = True
    background: bool = False
    request_id: str = ""
    tenant: str = ""
    source: str = "library"
    threshold: float | None = None
    fusion: Fusion | None = None
    user: str = ""
    session: str = ""
    priority: int | None = None
    best_priority: int = 0
    strict: bool = False
    spans: SpanOptions | None = None


@dataclass(frozen=True, slots=True)
class PairScore:
    """The model's score of one pair.

    Attributes:
        raw_score: the logit, unbounded, float32 in value.
        tokens: tokens that were computed for the pair, special tokens and all chunks included.
        truncated: True if some text of the query or the document was not read.
        chunks: number of chunks in which the document was read.
    """

    raw_score: float
    tokens: int
    truncated: bool
    chunks: int = 1


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document of a ranking.

    Attributes:
        index: position in the request, from 0.
        document: the document.
        relevance_score: the activated score, boosts of rules included; with sigmoid between 0 and 1, float64.
        raw_score: the model's logit; without rules and fusion it decides the order.
        rank_before: rank in the request, from 1.
        rank_after: rank in the result, from 1.
        truncated: True if the model did not read all of the document.
        chunks: number of chunks in which the document was read.
        rules: rules that acted on the document.
        spans: sentences that answer the query, in the order of the text; None if the request did not ask for them.
    """

    index: int
    document: Document
    relevance_score: float
    raw_score: float
    rank_before: int
    rank_after: int
    truncated: bool = False
    chunks: int = 1
    rules: tuple[MatchedRule, ...] = ()
    spans: tuple[Span, ...] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of a request.

    Attributes:
        pairs: number of pairs of the query and a document that were scored.
        tokens: tokens of all scored pairs, special tokens included.
        truncated: number of scored pairs whose text was cut.
        sentences: number of pairs of the query and a sentence that were scored for spans.
    """

    pairs: int
    tokens: int
    truncated: int
    sentences: int = 0

    @property
    def scored(self) -> int:
        """Number of all scored pairs."""
        return self.pairs + self.sentences

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name; without `sentences` where none were scored.

        Example:
            >>> Usage(2, 31, 0).to_dict()
            {'pairs': 2, 'tokens': 31, 'truncated': 0}
        """
        counts = {"pairs": self.pairs, "tokens": self.tokens, "truncated": self.truncated}
        return counts | {"sentences": self.sentences} if self.sentences else counts


@dataclass(frozen=True, slots=True)
class RerankResult(ResultViews):
    """A finished ranking, best first; iterates over `results`.

    Attributes:
        results: the returned documents, best first.
        model: name of the model that scored.
        usage: pairs and tokens of this request.
        timings: milliseconds by step: `tokenization`, `queue`, `inference` and `total`; NaN where a service names none.
        request_id: id of the request in a service's log and traces; empty for a local ranking.
        computed_tokens: tokens that were computed, those of cached scores left out; None for a local ranking.
        rules: version of the rule file in force; empty for none.
        version: fingerprint of the model that scored; empty for a local ranking without a recorder.
        experiment: experiment and variant of the request, as `name/variant`; empty for none.
        warnings: what was asked for and not done, such as an instruction that the model does not read; a service also
            names texts that were cut.
    """

    results: tuple[RankedDocument, ...]
    model: str
    usage: Usage
    timings: Mapping[str, float]
    request_id: str = ""
    computed_tokens: int | None = None
    rules: str = ""
    version: str = ""
    experiment: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RankingRecord:
    """A request with its complete outcome, documents that were not returned included.

    Attributes:
        request: the request.
        scores: one score for each document of the request, in request order.
        model: name of the model that scored.
        version: fingerprint of the model's files and of the backend that computed.
        max_length: longest pair in tokens, special tokens included.
        timings: milliseconds by step: `tokenization`, `queue`, `inference` and `total`.
        cached: pairs whose score came from the cache.
        time: when the ranking was finished, in seconds since 1970.
        adjustments: effect of the rules on each document; empty without rules.
        rules: version of the rule file in force; empty without rules.
        experiment: name of the experiment that the request was part of; empty for none.
        variant: variant of the experiment that answered; empty for none.
        teams: one character for each document of an interleaved list: `0` champion, `1` challenger, `-` neither.
        instruction: instruction that the model read; None for the model's own, or for none.
    """

    request: RerankRequest
    scores: Sequence[PairScore]
    model: str
    version: str
    max_length: int
    timings: Mapping[str, float]
    cached: int
    time: float
    adjustments: Sequence[Adjustment] = ()
    rules: str = ""
    experiment: str = ""
    variant: str = ""
    teams: str = ""
    instruction: str | None = None


class Recorder(Protocol):
    """A consumer of finished rankings, such as `rerankd.traces.writer.TraceWriter`."""

    def record(self, ranking: RankingRecord) -> None:
        """Accept a ranking. Implementations return at once, never raise, and are called from any thread."""
        ...
