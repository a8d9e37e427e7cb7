"""Fields shared by request bodies.

Every body exposes query, documents, number of results, activation, truncation and fusion, whatever its dialect. Only
`rerankd.server.ranking_request.to_rerank_request` reads them to build a `RerankRequest`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from rerankd.errors import PayloadTooLargeError
from rerankd.ranking.priority import clamped_priority
from rerankd.settings import Settings
from rerankd.types import MAX_INSTRUCTION, Activation, Document, Fusion, TruncationOverrides

MIN_LENGTH = 8
# Fields of some client that would change the results. Where a body does not have them, a warning names them.
IGNORED_FIELDS = frozenset(
    {
        *("threshold", "score_threshold", "similarity_threshold", "relevance_threshold", "min_score"),
        *("top_k", "top_n", "rank_fields", "fusion", "fusion_weight", "explain", "relevant_spans"),
        *("max_tokens_per_doc", "max_tokens_per_query", "max_chunks_per_doc", "overlap_tokens"),
        *("truncate_prompt_tokens", "truncation", "truncation_side"),
    }
)
NOTHING: tuple[Any, ...] = (None, False, "", {}, [], {"mode": "disabled"})
"""Values of such fields that ask for nothing."""
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class BaseRequestBody(BaseModel):
    """Body of a request that ranks or scores. Unknown fields are ignored: every client sends some."""

    model_config = ConfigDict(extra="allow", protected_namespaces=(), hide_input_in_errors=True)

    model: str | None = Field(
        None, max_length=512, description="Model name. The default model answers requests for unknown names."
    )
    timeout: Seconds | None = Field(None, description="Time limit in seconds.")
    cache: bool | None = Field(None, description="Set to false to bypass the score cache.")
    priority: int | None = Field(
        None,
        description="Urgency in the queue, from 0, the most urgent, to 999; null for the most urgent that the API key "
        "may have.",
    )
    instruction: str | None = Field(
        None,
        max_length=MAX_INSTRUCTION,
        description="What counts as relevant, for models that read an instruction; null or empty for the model's own.",
    )

    @property
    def requested_instruction(self) -> str | None:
        """Instruction of the request, under whichever name; blank or None for none."""
        return self.instruction

    @property
    def warnings(self) -> list[str]:
        """Warnings about values that were changed or ignored."""
        ignored = [
            f"{name} is not supported here and was ignored"
            for name, value in (self.model_extra or {}).items()
            if name in IGNORED_FIELDS and value not in NOTHING
        ]
        if self.priority is None or self.priority == self.ranking_priority:
            return ignored
        return [*ignored, f"priority {self.priority} is not within 0 to 999; {self.ranking_priority} was used"]

    @property
    def ranking_priority(self) -> int | None:
        """Priority of the ranking, within what is allowed; None for none."""
        return None if self.priority is None else clamped_priority(self.priority)

    @property
    def ranking_query(self) -> str:
        """Query of the ranking; empty where the body has pairs of its own.

        Raises:
            InvalidRequestError: the query is empty.
        """
        return ""

    def ranking_documents(self, settings: Settings) -> list[Document]:
        """Return the documents to rank; none where they come from elsewhere.

        Raises:
            InvalidRequestError: a document is not a text; the message names it.
            PayloadTooLargeError: there are more documents than `max_documents`.
        """
        return []

    @property
    def limit(self) -> int | None:
        """Number of documents to return; None for all."""
        return None

    @property
    def activation(self) -> Activation:
        """Activation of the scores in the response."""
        return "sigmoid"

    @property
    def lowest_score(self) -> float | None:
        """Lowest score of a document that is returned; None for no threshold."""
        return None

    def truncation_overrides(self) -> TruncationOverrides:
        """Return the overrides of the model's truncation."""
        return TruncationOverrides()

    def rank_fusion(self, settings: Settings) -> Fusion | None:
        """Return the fusion with the first stage's order; None for the model's order alone.

        Raises:
            InvalidRequestError: the weight does not suit the method.
        """
        return None


class ScoringRequestBody(BaseRequestBody):
    """Body of a request whose texts the model scores as they are sent."""

    raw_scores: bool | None = Field(None, description="Set to true for logits instead of scores from 0 to 1.")
    use_activation: bool | None = Field(None, description="Set to false for logits instead of scores from 0 to 1.")
    max_length: int | None = Field(
        None,
        ge=MIN_LENGTH,
        description="Maximum length of a query and document pair in tokens. Above the model's limit: status 400.",
    )
    long_documents: Literal["truncate", "chunk"] | None = Field(
        None, description="chunk scores a long document in overlapping chunks; its best chunk counts."
    )

    instruct: str | None = Field(None, max_length=MAX_INSTRUCTION, description="Alias of instruction.")
    chat_template_kwargs: Any = Field(None, description="Object whose instruction is an alias of instruction.")

    @property
    def requested_instruction(self) -> str | None:
        """Instruction of the request: that of DashScope, SGLang and vLLM's templates where there is no other."""
        return self.instruction or self.instruct or instruction_of(self.chat_template_kwargs)

    @property
    def activation(self) -> Activation:
        """Activation of the scores in the response: `none` gives logits."""
        return "none" if self.raw_scores or self.use_activation is False else "sigmoid"


def instruction_of(fields: Any) -> str | None:
    """Return the instruction in a field of a client that is an object, or an object as JSON; None for none.

    Example:
        >>> instruction_of('{"instruction": "Retrieve statutes."}')
        'Retrieve statutes.'
    """
    if isinstance(fields, str):
        try:
            fields = orjson.loads(fields)
        except orjson.JSONDecodeError:
            return None
    instruction = fields.get("instruction") if isinstance(fields, dict) else None
    return instruction if isinstance(instruction, str) else None


def check_count(count: int, name: str, settings: Settings) -> None:
    """Check a number of texts.

    Raises:
        PayloadTooLargeError: there are more than `max_documents`.
    """
    if count > settings.max_documents:
        raise PayloadTooLargeError(
            f"{name} holds {count} texts; {settings.max_documents} are allowed.",
            hint="Split the request, or raise max_documents.",
        )


def positive_or_none(value: int | None) -> int | None:
    """Return a positive number; None for anything else, which clients send for "no limit"."""
    return value if value is not None and value > 0 else None


def prompt_tokens_warnings(truncate_prompt_tokens: int | None) -> list[str]:
    """Return a warning if `truncate_prompt_tokens` is below the least length, to which it is raised."""
    if 0 < (truncate_prompt_tokens or 0) < MIN_LENGTH:
        return [f"truncate_prompt_tokens was raised to {MIN_LENGTH}"]
    return []
