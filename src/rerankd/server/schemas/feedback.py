"""Request bodies of `/v1/feedback`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rerankd.feedback.events import MAX_NAME, FeedbackEvent

MAX_ITEMS = 1000
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class FeedbackItem(BaseModel):
    """One feedback event; without a document it applies to the whole ranking."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    request_id: Name | None = Field(None, description="`id` of the response, also its X-Request-Id.")
    kind: Literal["click", "citation", "thumb", "grade"] = Field(description="Kind of the event.")
    index: int | None = Field(None, ge=0, lt=2**31, description="Index of the document in the request, from 0.")
    document_id: Name | None = Field(None, description="Or the id that the request gave it.")
    value: float = Field(1.0, allow_inf_nan=False, description="thumb: 1 or -1; grade: 0 to 100.")


class FeedbackRequestBody(BaseModel):
    """Feedback on one ranking or on many, up to a thousand events."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    request_id: Name | None = Field(None, description="Request id of items that name none.")
    items: list[FeedbackItem] = Field(min_length=1, max_length=MAX_ITEMS, description="The events.")

    def events(self, tenant: str) -> list[FeedbackEvent]:
        """Return the events as they are stored."""
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
