"""Fields shared by request bodies.

Every body exposes query, documents, number of results, activation, truncation and fusion, whatever its dialect. Only
`rerankd.server.ranking_request.to_rerank_request` reads them to build a `RerankRequest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from rerankd.errors import PayloadTooLargeError
from rerankd.ranking.priority import clamped_priority
from rerankd.server.schemas.field_support import (
    FIELDS,
    HONOURED,
    MAX_NAMED,
    NOTHING,
    REFUSED,
    SILENT,
    RequestForm,
    ignored_fields,
    ignored_warnings,
    shown_name,
)
from rerankd.settings import Settings
from rerankd.types import MAX_INSTRUCTION, Activation, Document, Fusion, SpanOptions, TruncationOverrides

MIN_LENGTH = 8
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class BaseRequestBody(BaseModel):
    """Body of a request that ranks or scores. Unknown fields are ignored, with a warning: every client sends some.

    Attributes:
        form: form of the body, a column of `field_support`; None where unknown fields are errors.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=(), hide_input_in_errors=True)
    form: ClassVar[RequestForm | None] = None

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
    strict: bool | None = Field(
        None,
        description="Set to true for an error with status 422, not a warning, where a field cannot be honoured.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_fields(cls, content: Any) -> Any:
        """Refuse fields that hold the texts in a form of other services."""
        if cls.form is None or not isinstance(content, dict) or REFUSED[cls.form].isdisjoint(content):
            return content
        refused = [row for row in FIELDS.values() if row.name in REFUSED[cls.form] and row.asks(content.get(row.name))]
        faults = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "unsupported_field", "It is not supported here; {instead}", {"instead": row.instead}
                ),
                loc=(row.name,),
                input=None,
            )
            for row in refused
        ]
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return content

    @property
    def requested_instruction(self) -> str | None:
        """Instruction of the request, under whichever name; blank or None for none."""
        return self.instruction

    @property
    def ignored_fields(self) -> list[str]:
        """Names of the fields that ask for something and have no effect, in their order."""
        if self.form is None or self.model_fields_set <= HONOURED[self.form]:
            return []
        extra = self.model_extra or {}
        declared = [(name, getattr(self, name)) for name in type(self).model_fields if name in self.model_fields_set]
        return ignored_fields([*declared, *extra.items()], self.form)

    @property
    def warnings(self) -> list[str]:
        """Warnings about fields that were ignored and values that were changed; each begins with the field's name."""
        is_silent = self.form is not None and self.model_fields_set <= SILENT[self.form]
        return [] if is_silent else [*ignored_warnings(self.ignored_fields), *self._changed_values()]

    def _changed_values(self) -> list[str]:
        """Return the warnings about values of fields that are honoured, and about fields beside others that count."""
        if self.priority is None or self.priority == self.ranking_priority:
            return []
        return [f"priority {self.priority} is not within 0 to 999; {self.ranking_priority} was used"]

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

    @property
    def span_options(self) -> SpanOptions | None:
        """Request for the sentences that answer the query; None for none."""
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

    def _instructions(self) -> dict[str, str | None]:
        """Return the instructions by the names that clients give them; the first counts."""
        names = {"instruction": self.instruction, "instruct": self.instruct}
        return names | {"chat_template_kwargs.instruction": instruction_of(self.chat_template_kwargs)}

    def _changed_values(self) -> list[str]:
        asked = self.requested_instruction
        others = [name for name, text in self._instructions().items() if text and text != asked]
        options = unread_options("chat_template_kwargs", self.chat_template_kwargs)
        ignored = (f"{name} is not the only instruction and was ignored" for name in others)
        return [*super()._changed_values(), *options, *ignored]

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
    if fields is None:
        return None
    instruction = _options_of(fields).get("instruction")
    return instruction if isinstance(instruction, str) else None


def unread_options(name: str, fields: Any) -> list[str]:
    """Return the warnings about a field of a client that is an object, or an object as JSON: its instruction is read.

    Args:
        name: name of the field.
        fields: its value.

    Example:
        >>> unread_options("kwargs", {"instruction": "Retrieve statutes.", "batch": 8})
        ['kwargs.batch is not supported here and was ignored']
    """
    if fields in NOTHING:
        return []
    options = _options_of(fields)
    if not options:
        return [f"{name} is no object with an instruction and was ignored"]
    unread = [
        shown_name(key)
        for key, value in options.items()
        if value is not None and not (key == "instruction" and isinstance(value, str))
    ]
    warnings = [f"{name}.{key} is not supported here and was ignored" for key in unread[:MAX_NAMED]]
    more = len(unread) - MAX_NAMED
    return [*warnings, f"{name} has {more} more options that were ignored"] if more > 0 else warnings


def _options_of(fields: Any) -> Mapping[str, Any]:
    if isinstance(fields, str):
        try:
            fields = orjson.loads(fields)
        except orjson.JSONDecodeError:
            return {}
    return fields if isinstance(fields, dict) else {}


def beside(name: str, value: Any, other: str, other_value: Any) -> list[str]:
    """Return a warning if a field is sent beside another that comes before it, and says something else.

    Example:
        >>> beside("top_k", 3, "top_n", 5), beside("top_k", 5, "top_n", 5), beside("top_k", 3, "top_n", None)
        (['top_k differs from top_n and was ignored'], [], [])
    """
    if value is None or other_value is None or value == other_value:
        return []
    return [f"{name} differs from {other} and was ignored"]


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
        return [f"truncate_prompt_tokens is below {MIN_LENGTH} and was raised"]
    return []
