"""Request bodies of `/v1/cases`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rerankd.feedback.cases import MAX_NOTE
from rerankd.feedback.events import MAX_GRADE, MAX_NAME

MAX_LABELS = 1000
NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores none
MAX_LISTED = 200
StateName = Literal["open", "labelled", "in_training", "fixed", "wont_fix"]
Note = Annotated[str, Field(max_length=MAX_NOTE)]


class FlagRequestBody(BaseModel):
    """Request to flag a ranking as a bad case."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    request_id: str = Field(
        min_length=1, max_length=MAX_NAME, pattern=NO_NUL, description="`id` of the response, also its X-Request-Id."
    )
    index: int | None = Field(None, ge=0, lt=2**31, description="Index of the misplaced document, from 0.")
    note: Note = Field("", description="Reason.")


class LabelItem(BaseModel):
    """Relevance grade of a document."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    index: int = Field(ge=0, lt=2**31, description="Index of the document in the request, from 0.")
    grade: int = Field(ge=0, le=MAX_GRADE, description="0 for irrelevant, higher for more relevant.")


class CaseRequestBody(BaseModel):
    """Request to label a case or to change its state."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    labels: list[LabelItem] = Field(default_factory=list, max_length=MAX_LABELS, description="Grades of documents.")
    state: StateName | None = Field(None, description="New state; labels make an open case labelled.")
    note: Note = Field("", description="Text that is appended to the note.")

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: list[LabelItem]) -> list[LabelItem]:
        grades: dict[int, int] = {}
        for label in labels:
            if grades.setdefault(label.index, label.grade) != label.grade:
                raise ValueError(f"document {label.index} has two grades")
        return labels

    @property
    def grades(self) -> dict[int, int]:
        """Grades by index in the request."""
        return {label.index: label.grade for label in self.labels}
