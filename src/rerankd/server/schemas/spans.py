"""The field `relevant_spans` of Cohere v2."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rerankd.server.schemas.field_support import MAX_NAMED, shown_name
from rerankd.types import SpanOptions

DEFAULT = SpanOptions()


class RelevantSpans(BaseModel):
    """Request for the sentences of the returned documents that answer the query."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    mode: Literal["enabled", "disabled"] = Field(description="enabled for spans.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score of a span, from 0 to 1 even with raw_scores; null for 0.1."
    )
    max_spans: int | None = Field(None, ge=1, description="Maximum number of spans of a document, the best ones.")

    @property
    def options(self) -> SpanOptions | None:
        """The request for spans; None for none."""
        if self.mode == "disabled":
            return None
        return SpanOptions(DEFAULT.threshold if self.threshold is None else self.threshold, self.max_spans)

    @property
    def warnings(self) -> list[str]:
        """Warnings about options that nobody knows."""
        unknown = [name for name, value in (self.model_extra or {}).items() if value is not None]
        return [f"relevant_spans.{shown_name(name)} is unknown and was ignored" for name in unknown[:MAX_NAMED]]


def _object(value: Any) -> Any:
    if value and not isinstance(value, dict | RelevantSpans):
        raise ValueError("Input should be an object with mode, threshold and max_spans")
    return value or None


RelevantSpansField = Annotated[RelevantSpans | None, BeforeValidator(_object)]
"""The field, in which an empty object asks for nothing."""
