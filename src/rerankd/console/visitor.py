"""The visitor of a page, and what they may see and do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from starlette.requests import Request

from rerankd.console.language import Language, language_of
from rerankd.errors import PermissionDeniedError
from rerankd.server.auth.keys import ApiKey
from rerankd.server.context import current_request


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person at the console.

    Attributes:
        key: API key that they signed in with; None where the service requires none.
        language: language of the pages.
        csrf_token: token that the forms of their session carry; empty for a request with a key in its headers.
    """

    key: ApiKey | None
    language: Language
    csrf_token: str

    @property
    def is_admin(self) -> bool:
        """True if they may see all tenants and decide about experiments and models."""
        return self.key is None or self.key.admin

    @property
    def tenant(self) -> str | None:
        """Tenant whose rows they see; None for all tenants."""
        return None if self.key is None or self.key.admin else self.key.tenant_id

    @property
    def name(self) -> str:
        """Name under which their actions are recorded, such as `search team (1a2b3c4d)`; `console` without keys."""
        return "console" if self.key is None else self.key.owner

    def require_admin(self) -> None:
        """Check that they may decide.

        Raises:
            PermissionDeniedError: their key is not an admin key.
        """
        if not self.is_admin:
            raise PermissionDeniedError("This needs an admin key.", hint="Sign in with one.")


def visitor_of(request: Request) -> Visitor:
    """Return the visitor of a request that the middleware has let in."""
    context = current_request.get()
    token = context.session.csrf_token if context.session else ""
    return Visitor(context.key, language_of(request), token)


def is_same_token(sent: str, expected: str) -> bool:
    """Return True if a form carries the token of its session."""
    return bool(expected) and secrets.compare_digest(sent.encode(), expected.encode())
