"""Common parts of all decisions: a reason, and an answer to those that came too late."""

from __future__ import annotations

from fastapi import Response
from pydantic import BaseModel, Field
from starlette.requests import Request

from rerankd.console.router import redirect
from rerankd.errors import ConflictError

MAX_REASON = 500


class ReasonForm(BaseModel):
    """Fields of every decision."""

    reason: str = Field(min_length=1, max_length=MAX_REASON, pattern=r"\S")


def wants_json(request: Request) -> bool:
    """Return True for a program, which gets errors as JSON rather than as part of a page."""
    return "application/json" in request.headers.get("accept", "")


def conflict(request: Request, path: str, error: ConflictError) -> Response:
    """Show the present state of what somebody else changed meanwhile; a program gets the error.

    Args:
        request: the request.
        path: path of the page below `/console`, which takes the parameter `notice`.
        error: the error.

    Raises:
        ConflictError: for a program.
    """
    if wants_json(request):
        raise error
    return redirect(request, f"{path}?notice=conflict")
