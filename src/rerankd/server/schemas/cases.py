"""What requests about bad cases look like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rerankd.feedback.cases import MAX_NOTE
from rerankd.feedback.events import MAX_GRADE, MAX_NAME

MAX_LABELS = 1000
MAX_LISTED = 200
StateName = Literal["open", "labelled", "in_training", "fixed", "wont_fix"]
Note = Annotated[str, Field(max_length=MAX_NOTE)]


class FlagRequestBody(BaseModel):
    """A ranking that somebody finds bad."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    request_id: str = Field(min_length=1, max_length=MAX_NAME, description="`id` of the answer, and its X-Request-Id")
    index: int | None = Field(None, ge=0, lt=2**31, description="the document that is wrong, from 0")
    note: Note = Field("", description="why")


class LabelItem(BaseModel):
    """How relevant a document is."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    index: int = Field(ge=0, lt=2**31, description="the document's place in the request, from 0")
    grade: int = Field(ge=0, le=MAX_GRADE, description="0 for what does not answer, above for what does")


class CaseRequestBody(BaseModel):
    """What is said of a case."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    labels: list[LabelItem] = Field(default_factory=list, max_length=MAX_LABELS, description="grades of documents")
    state: StateName | None = Field(None, description="what became of it; labels make an open case labelled")
    note: Note = Field("", description="is added to what is there")

    @property
    def grades(self) -> dict[int, int]:
        """Grades by place in the request."""
        return {one.index: one.grade for one in self.labels}
