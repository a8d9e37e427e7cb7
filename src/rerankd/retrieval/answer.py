"""Results of retrieval-augmented generation: passages of a search, parts of a streamed answer, and the whole answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rerankd.errors import RerankdError
from rerankd.retrieval.attribution import AnswerSentence
from rerankd.types import Document, RankedDocument

DropReason = Literal["threshold", "duplicate", "budget", "top_n"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A candidate of a search, kept or dropped.

    Attributes:
        number: number that an answer cites it by, from 1; 0 if it was dropped.
        ranked: scores and ranks; `rank_before` is the rank in the first stage.
        dropped: reason why it was dropped; empty if it was kept.
        duplicate_of: id of the kept passage that it repeats.
    """

    number: int
    ranked: RankedDocument
    dropped: DropReason | Literal[""] = ""
    duplicate_of: str = ""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages for a question.

    Attributes:
        query: the question.
        expanded_query: the question with its synonyms, as it was sent to the first stage.
        passages: passages that are kept, numbered.
        dropped: passages that are not, best first.
        model: name of the reranking model; empty if the first stage returned nothing.
        rules: version of the rules in force.
        timings: milliseconds per stage: `retrieve`, `rerank`, `select`; where there is an answer also `answer`, and
            `support` for the match of its sentences.
        request_id: id of the ranking in traces and feedback.
        version: version of the model.
        experiment: experiment and variant of the ranking, as in `RerankResult.experiment`.
        warnings: what was asked for and not done, as in `RerankResult.warnings`.
    """

    query: str
    expanded_query: str
    passages: tuple[Passage, ...]
    dropped: tuple[Passage, ...]
    model: str
    rules: str
    timings: dict[str, float]
    request_id: str
    version: str = ""
    experiment: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """The next part of an answer that is being generated, citations checked."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with the passages that it rests on.

    Attributes:
        text: text of the language model, citations checked; None without a language model or without passages.
        search: the passages.
        citations: numbers of the passages that it cites; empty without a text.
        invalid_citations: cited numbers without a passage; they are removed from the text.
        refusal: message to the user if no passage answers the question; empty otherwise.
        error: failure of the language model; the passages are valid all the same.
        sentences: sentences of the text, with the passages that each cites or is attributed to.
    """

    text: str | None
    search: SearchResult
    citations: tuple[int, ...] = ()
    invalid_citations: tuple[int, ...] = ()
    refusal: str = ""
    error: RerankdError | None = None
    sentences: tuple[AnswerSentence, ...] = ()

    @property
    def attributed(self) -> tuple[int, ...]:
        """Numbers of the passages that the reranker matched to sentences without a citation."""
        return tuple(dict.fromkeys(number for sentence in self.sentences for number in sentence.attributed))

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Sentences that no passage supports."""
        return tuple(sentence.text.strip() for sentence in self.sentences if sentence.unsupported)

    @property
    def grounded(self) -> bool:
        """True if passages support every sentence of the answer, and only passages that the model was given."""
        is_supported = bool(self.citations or self.attributed) and not self.unsupported
        return bool(self.text) and is_supported and not self.invalid_citations and self.error is None


def source_label(document: Document) -> str:
    """Return where a passage is from, for people: file, page and heading.

    Example:
        >>> source_label(Document("", "a.md#0", {"source": "a.md", "heading": "Top"}))
        'a.md, Top'
    """
    metadata = document.metadata
    parts = [str(metadata.get("source") or document.id or "")]
    if metadata.get("page"):
        parts.append(f"p. {metadata['page']}")
    if metadata.get("heading"):
        parts.append(str(metadata["heading"]))
    return ", ".join(part for part in parts if part)
