"""What feedback looks like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rerankd.feedback.events import MAX_NAME, FeedbackEvent

MAX_ITEMS = 1000
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class FeedbackItem(BaseModel):
    """One thing that somebody did or said; without a document it is of the whole ranking."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    request_id: Name | None = Field(None, description="`id` of the answer, and its X-Request-Id")
    kind: Literal["click", "citation", "thumb", "grade"] = Field(description="what it is")
    index: int | None = Field(None, ge=0, lt=2**31, description="the document's place in the request, from 0")
    document_id: Name | None = Field(None, description="or the id that the request gave it")
    value: float = Field(1.0, allow_inf_nan=False, description="thumb: 1 or -1; grade: from 0 to 100")


class FeedbackRequestBody(BaseModel):
    """Feedback on one ranking or on many, up to a thousand items."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    request_id: Name | None = Field(None, description="for items that name none")
    items: list[FeedbackItem] = Field(min_length=1, max_length=MAX_ITEMS, description="what was done or said")

    def feedback(self, tenant: str) -> list[FeedbackEvent]:
        """As it is kept."""
        return [
            FeedbackEvent(
                item.request_id or self.request_id or "",
                item.kind,
                item.index,
                item.document_id,
                item.value,
                tenant=tenant,
            )
            for item in self.items
        ]
