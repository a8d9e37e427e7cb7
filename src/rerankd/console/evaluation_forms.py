"""Forms and parameters of the pages of evaluations."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, Field
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console.router import form_of
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError, PermissionDeniedError
from rerankd.evaluation.saved import EvaluationPlan
from rerankd.server.evaluation_service import MAX_DEPTH, MAX_MODELS, MAX_QUERIES

DEPTH, QUERIES = 50, 100
FOLDER = "folder:"
MAX_NAME = 500
CASES = "cases"
Order = Literal["loss", "gain"]
ORDERS: tuple[Order, ...] = get_args(Order)


class StartForm(BaseModel):
    """Form that starts an evaluation; the models are read apart, since the field is there several times."""

    source: str = Field(max_length=500)
    depth: int = Field(DEPTH, ge=1, le=MAX_DEPTH)
    queries: int = Field(QUERIES, ge=1, le=MAX_QUERIES)


class ResultQuery(BaseModel):
    """Parameters of a result page."""

    system: str | None = Field(None, max_length=500)
    order: Order = "loss"
    page: int = Field(1, ge=1, le=10_000)


class PairQuery(ResultQuery):
    """Parameters of a page that compares two evaluations; `system` is the one after."""

    before: str | None = Field(None, max_length=500)


def plan_of(form: FormData, visitor: Visitor) -> EvaluationPlan:
    """Return the plan of a form.

    Raises:
        InvalidRequestError: a field is invalid.
        PermissionDeniedError: the dataset is for administrators.
        NotFoundError: there is no such dataset.
    """
    fields = form_of(form, StartForm)
    names = (str(name).strip()[:MAX_NAME] for name in form.getlist("model")[: MAX_MODELS + 2])
    models = tuple(dict.fromkeys(name for name in names if name))
    if fields.source == CASES:
        return EvaluationPlan("cases", "", models, fields.depth, fields.queries)
    if not fields.source.startswith(FOLDER):
        raise NotFoundError(f"There is no dataset {fields.source[:100]!r}.", hint="Choose one of the list.")
    if not visitor.is_admin:
        raise PermissionDeniedError("Folders are for admin keys.", hint="Evaluate on your labelled cases.")
    return EvaluationPlan("folder", fields.source.removeprefix(FOLDER), models, fields.depth, fields.queries)


def number_in(request: Request, name: str) -> int:
    """Return a number in the path of a request.

    Raises:
        NotFoundError: it is no number.
    """
    text = str(request.path_params[name])
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise NotFoundError(f"The page {request.url.path[:100]} does not exist.", hint="See the list of evaluations.")
    return int(text)
