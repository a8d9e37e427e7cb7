"""Sessions of the console: a signed cookie that names the API key somebody signed in with.

Nothing is stored on the server. A session ends when it expires, when its key is removed or replaced, and, where no
secret is set, when the instance ends. Instances behind one proxy need the same secret.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import cookie_parser

from rerankd.server.auth.key_ring import KeyRing
from rerankd.server.auth.keys import ApiKey

COOKIE = "rerankd_session"
SESSION_SECONDS = 12 * 3600
_SALT = "rerankd.console.session"
_DIGEST_LENGTH = 16  # of 64 hex digits: enough to tell that a key was replaced, too little to be one


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's session.

    Attributes:
        key_id: id of the API key; empty where the service requires none.
        csrf_token: token that forms of this session carry.
    """

    key_id: str
    csrf_token: str


def cookie_of(headers: Mapping[str, str]) -> str:
    """Return the session cookie in a request's headers (lower-case names); empty for none.

    Example:
        >>> cookie_of({"cookie": "theme=dark; rerankd_session=abc"})
        'abc'
    """
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


class SessionSigner:
    """Issues and reads the cookies of sessions.

    Args:
        secret: secret that signs them, at least 16 characters; None for a random one, which lasts as long as the
            process.
        seconds: lifetime of a session in seconds.

    Example:
        >>> ring = KeyRing(["rk-secret"], None)
        >>> signer = SessionSigner(None)
        >>> session, key = signer.read(signer.issue(ring.find("rk-secret")), ring)
        >>> session.key_id == key.id
        True
        >>> signer.read("forged", ring) is None
        True
    """

    def __init__(self, secret: str | None, seconds: int = SESSION_SECONDS) -> None:
        self._serializer = URLSafeTimedSerializer(secret or secrets.token_bytes(32), salt=_SALT)
        self.seconds = seconds

    def issue(self, key: ApiKey | None) -> str:
        """Return the cookie of a new session.

        Args:
            key: API key that was presented; None where the service requires none.
        """
        content = {
            "key": key.id if key else "",
            "digest": key.digest[:_DIGEST_LENGTH] if key else "",
            "csrf": secrets.token_urlsafe(24),
        }
        return str(self._serializer.dumps(content))

    def read(self, cookie: str, keys: KeyRing) -> tuple[Session, ApiKey | None] | None:
        """Return the session of a cookie and its API key; None if it is forged, has expired, or its key is gone.

        Args:
            cookie: value of the cookie.
            keys: keys in force.
        """
        try:
            content = self._serializer.loads(cookie, max_age=self.seconds)
            session, digest = Session(str(content["key"]), str(content["csrf"])), str(content["digest"])
        except (BadData, KeyError, TypeError):
            return None
        if not keys.required:
            return None if session.key_id else (session, None)
        key = keys.find_by_id(session.key_id)
        if key is None or not digest or not key.digest.startswith(digest) or key.expired(time.time()):
            return None
        return session, key
