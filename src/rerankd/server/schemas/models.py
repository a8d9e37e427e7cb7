"""The request body of `PUT /v1/models/{name}`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SwapRequestBody(BaseModel):
    """Request to serve another model under a name."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        min_length=1, max_length=1024, description="Bundled model, folder, or Hugging Face org/name[@revision]."
    )
