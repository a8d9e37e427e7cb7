"""The labeller of a visit: the API key of the sign-in, or, where none is required, a name that is typed once."""

from __future__ import annotations

from urllib.parse import quote, unquote

from fastapi import Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console.router import form_of
from rerankd.console.sign_in import next_address
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError
from rerankd.feedback.labels import validate_labeller
from rerankd.server.paths import CONSOLE

COOKIE = "rerankd_labeller"
COOKIE_SECONDS = 365 * 24 * 3600
MAX_NAME = 60


class NameForm(BaseModel):
    """Form in which a visitor names themselves."""

    name: str = Field(min_length=1, max_length=MAX_NAME)
    next: str = Field("", max_length=4000)


def labeller_of(request: Request, visitor: Visitor) -> str:
    """Return the name under which a visitor labels; empty for a visitor without a key who has not said a name."""
    if visitor.key is not None:
        return visitor.key.owner
    try:
        return validate_labeller(unquote(request.cookies.get(COOKIE, "")))
    except InvalidRequestError:
        return ""


def require_labeller(request: Request, visitor: Visitor) -> str:
    """Return the name under which a visitor labels.

    Raises:
        InvalidRequestError: they have not said a name.
    """
    name = labeller_of(request, visitor)
    if not name:
        raise InvalidRequestError("Nobody knows whose label this is.", hint="Enter your name on the page.")
    return name


async def save_name(_: Request, __: Visitor, form: FormData) -> Response:
    """Remember the visitor's name in a cookie, and show the page again."""
    fields = form_of(form, NameForm)
    name = validate_labeller(fields.name)
    if not name:
        raise InvalidRequestError("The name is empty.", hint="Enter a name, such as Li Wei.")
    response = RedirectResponse(next_address(fields.next), 303)
    response.set_cookie(COOKIE, quote(name), max_age=COOKIE_SECONDS, path=CONSOLE, httponly=True, samesite="strict")
    return response
