"""API keys: their generation, and the headers that carry them. `quotas` enforces their limits."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rerankd.errors import InvalidRequestError
from rerankd.ranking.priority import LEAST_URGENT, MOST_URGENT

PREFIX = "rk-"
LIMITS = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day")
MAX_HEADER = 4096
MAX_OWNER = 90  # characters of a key's name and id under which actions are recorded


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Stored record of an API key: everything but the key itself.

    Args:
        id: short public id, safe to log.
        name: name of the owner.
        digest: SHA-256 of the key, 64 hex digits.
        admin: True for a key that may administer the service.
        requests_per_minute: rate limit; None for no limit, as for the next three.
        tokens_per_minute: tokens per minute.
        requests_per_day: requests per UTC day.
        tokens_per_day: tokens per UTC day.
        created: time of creation, ISO 8601 in UTC.
        expires: time from which the key is refused, ISO 8601 with a time zone; empty for never.
        tenant: id of the tenant, for several keys of one tenant; empty for a tenant of its own.
        metrics: True for a key that may read `/metrics` and nothing else.
        best_priority: most urgent priority that its requests may ask for; 0 for any.

    Raises:
        InvalidRequestError: a field has the wrong type, a limit is not positive, or `expires` is not a time.
    """

    id: str
    name: str
    digest: str = field(repr=False)
    admin: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    created: str = ""
    expires: str = ""
    tenant: str = ""
    metrics: bool = False
    best_priority: int = MOST_URGENT

    def __post_init__(self) -> None:
        for text in (self.id, self.name):
            if not isinstance(text, str) or not text.strip() or not text.isprintable():
                raise InvalidRequestError("A key's id and name must be printable text that is not blank.")
        if not isinstance(self.digest, str) or not re.fullmatch("[0-9a-f]{64}", self.digest):
            raise InvalidRequestError(f"The digest of key {self.id} must be 64 lower-case hex digits.")
        if not isinstance(self.admin, bool) or not isinstance(self.created, str):
            raise InvalidRequestError(f"Of key {self.id}, admin must be true or false, and created must be text.")
        for label in LIMITS:
            limit = getattr(self, label)
            if limit is not None and (type(limit) is not int or limit < 1):
                raise InvalidRequestError(
                    f"{label} of key {self.id} must be an integer of at least 1.", hint="Leave it out for no limit."
                )
        if not isinstance(self.metrics, bool) or not isinstance(self.tenant, str) or not self.tenant.isprintable():
            raise InvalidRequestError(f"Of key {self.id}, metrics must be true or false, and tenant printable text.")
        if type(self.best_priority) is not int or not MOST_URGENT <= self.best_priority <= LEAST_URGENT:
            raise InvalidRequestError(
                f"best_priority of key {self.id} must be an integer from {MOST_URGENT} to {LEAST_URGENT}.",
                hint="Leave it out for any priority.",
            )
        if self.expires and _timestamp(self.expires) is None:
            raise InvalidRequestError(
                f"expires of key {self.id} is not a time with its time zone.", hint="Write 2027-01-31T00:00:00+00:00."
            )

    @property
    def tenant_id(self) -> str:
        """Id of the tenant: that of the key itself, unless it belongs to another one."""
        return self.tenant or self.id

    @property
    def owner(self) -> str:
        """Name under which actions and labels are recorded, such as `search team (1a2b3c4d)`."""
        return f"{self.name.strip()[:MAX_OWNER]} ({self.id.strip()[:MAX_OWNER]})"

    def expired(self, now: float) -> bool:
        """Return True if the key is refused at a time, in seconds since 1970."""
        return bool(self.expires) and (_timestamp(self.expires) or 0.0) <= now


def _timestamp(text: object) -> float | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment is not None and moment.tzinfo is not None else None


def digest_of(clear: str) -> str:
    """Return the SHA-256 of a key, in hex."""
    # Slow, salted hashes protect guessable passwords. 256 random bits cannot be guessed, however fast the hash is,
    # and this one runs on every request.
    return hashlib.sha256(clear.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(
    name: str,
    *,
    admin: bool = False,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    requests_per_day: int | None = None,
    tokens_per_day: int | None = None,
    expires: str = "",
    tenant: str = "",
    metrics: bool = False,
    best_priority: int = MOST_URGENT,
) -> tuple[str, ApiKey]:
    """Generate a key; return its clear text, which is stored nowhere, and its record.

    Raises:
        InvalidRequestError: the name is blank, a limit is not positive, `expires` is not a time, or `best_priority` is
            no priority.

    Example:
        >>> clear, key = new_key("search team", requests_per_minute=600)
        >>> len(clear), key.name, key.id == key.digest[:8]
        (46, 'search team', True)
    """
    clear = PREFIX + secrets.token_urlsafe(32)
    digest = digest_of(clear)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    key = ApiKey(
        id=digest[:8],
        name=name,
        digest=digest,
        admin=admin,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_day=tokens_per_day,
        created=created,
        expires=expires,
        tenant=tenant,
        metrics=metrics,
        best_priority=best_priority,
    )
    return clear, key


def presented_key(headers: Mapping[str, str]) -> str | None:
    """Return the key in a request's headers (lower-case names): Authorization, X-API-Key or Api-Key, in this order.

    Example:
        >>> presented_key({"authorization": "Bearer rk-secret"})
        'rk-secret'
        >>> presented_key({"authorization": "Bearer", "x-api-key": "rk-other"})
        'rk-other'
    """
    for name in ("authorization", "x-api-key", "api-key"):
        value = headers.get(name, "").strip()
        if not value or len(value) > MAX_HEADER:
            continue
        key = _credentials(value) if name == "authorization" else value
        if key:
            return key
    return None


def _credentials(value: str) -> str:
    scheme, *rest = value.split(None, 1)
    credentials = rest[0] if rest else ""
    match scheme.lower():
        case "bearer":
            return credentials
        case "basic":  # browsers send it after asking for a user name and a password
            try:
                user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except ValueError:
                return ""
            return password or user
        case _:
            return value
