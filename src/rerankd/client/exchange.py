"""One exchange with a service: sends a request, retries it where that can help, and returns the response's object.

Nothing here does input or output ("sans-IO"). A flow is a generator that yields what is to be done, an
`httpx.Request` to send or a number of seconds to sleep, and receives the outcome; httpx's `auth_flow` has the same
form. So retries, deadlines and errors are written once for the synchronous and the asynchronous client.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import httpx
import orjson

from rerankd import __version__, errors
from rerankd._common.backoff import Backoff
from rerankd._common.retry_after import read_retry_after
from rerankd._common.trace_context import trace_headers
from rerankd.errors import InvalidRequestError, RerankdError, RetryableError, UnavailableError

T = TypeVar("T")
Outcome = httpx.Response | httpx.HTTPError
Flow = Generator[httpx.Request | float, Outcome | None, T]

CONNECT_SECONDS = 5.0

_ERRORS_BY_CODE = {
    cls.code: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.RerankdError)
}
# The meaning of a status that comes from a proxy, or from a server that is not rerankd.
_ERRORS_BY_STATUS: dict[int, type[RerankdError]] = {
    400: InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    413: errors.PayloadTooLargeError,
    422: InvalidRequestError,
    429: errors.RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


class Exchange:
    """Requests to one service, with retries.

    Args:
        url: address of the service.
        api_key: key sent as a bearer token; None for `RERANKD_API_KEY`.
        timeout: seconds that one exchange may take, retries included; None for no limit.
        max_retries: retries of one request at most.

    Raises:
        InvalidRequestError: an argument that cannot be used.
    """

    def __init__(self, url: str, api_key: str | None, timeout: float | None, max_retries: int) -> None:
        self.url, self.shown_url = check_url(url)
        self.timeout = check_timeout(timeout)
        if not isinstance(max_retries, int) or isinstance(max_retries, bool) or max_retries < 0:
            raise InvalidRequestError(
                f"max_retries is {max_retries!r}.", hint="max_retries must be an integer of at least 0."
            )
        # Full jitter, so that clients refused together do not come back together.
        self.backoff = Backoff(attempts=max_retries + 1, first=0.25, longest=8.0, jitter=1.0)
        self.max_retries = max_retries
        self.headers = _headers(api_key)
        self.clock = time.monotonic
        self.wall_clock = time.time

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Flow[dict[str, Any]]:
        """Send a request until it succeeds or no retry is left.

        Args:
            method: HTTP method.
            path: path below the service's address.
            body: object sent as JSON; None for no body.
            timeout: seconds for this exchange; None for the exchange's own timeout.
            headers: headers in addition to the usual ones.

        Returns:
            The object in the response's body.

        Raises:
            RerankdError: the error that the service names, or the one that the outcome stands for.
        """
        timeout = self.timeout if timeout is None else timeout
        deadline = math.inf if timeout is None else self.clock() + timeout
        content = None if body is None else orjson.dumps(body)
        failures = 0
        while True:
            seconds = None if timeout is None else max(deadline - self.clock(), 0.001)
            outcome = yield self.request(method, path, content, timeout=seconds, headers=headers)
            result = self._read(outcome, path, timeout)
            if isinstance(result, dict):
                return result
            failures += 1
            retry_after = self._retry_after(outcome)
            pause = self.backoff.pause(failures) if retry_after is None else retry_after
            too_late = pause >= deadline - self.clock()
            if isinstance(result, RetryableError):
                result.retry_after = pause if retry_after is not None or too_late else result.retry_after
                if failures <= self.max_retries and not too_late:
                    yield pause
                    continue
            raise result from (outcome if isinstance(outcome, httpx.HTTPError) else None)

    def request(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        """Build a request; the service learns from it how long the caller will wait.

        Args:
            method: HTTP method.
            path: path below the service's address.
            content: the body.
            timeout: seconds until the caller gives up; None for no limit.
            headers: headers in addition to the usual ones.
        """
        all_headers = self.headers.copy()
        all_headers.update(trace_headers() | dict(headers or {}))
        if timeout is not None:
            all_headers["X-Request-Timeout"] = f"{timeout:.3f}"
        connect = CONNECT_SECONDS if timeout is None else min(CONNECT_SECONDS, timeout)
        limits = httpx.Timeout(timeout, connect=connect).as_dict()
        return httpx.Request(
            method, self.url + path, headers=all_headers, content=content, extensions={"timeout": limits}
        )

    def _read(self, outcome: Outcome | None, path: str, timeout: float | None) -> dict[str, Any] | RerankdError:
        url = self.shown_url + path
        if not isinstance(outcome, httpx.Response):
            return _transport_error(outcome, url, timeout)
        try:
            body = orjson.loads(outcome.content)
        except orjson.JSONDecodeError:
            body = None
        status = outcome.status_code
        if outcome.is_success and isinstance(body, dict):
            return body
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return _ERRORS_BY_STATUS.get(status, RerankdError)(
                f"{url} returned {status} {outcome.reason_phrase}".rstrip() + ", but not a rerankd error.",
                hint="Check that url leads to a rerankd service, and check any proxy in between.",
            )
        request_id = outcome.headers.get("x-request-id", "")
        hint = f"Look for request {request_id} in the service's log." if request_id and status == 500 else ""
        return read_error(error, status, missing=f"{url} answered {status}.", hint=hint)

    def _retry_after(self, outcome: Outcome | None) -> float | None:
        """Return the seconds that the server asks to wait; None if it names none."""
        if not isinstance(outcome, httpx.Response):
            return None
        return read_retry_after(outcome.headers, self.wall_clock())


def read_error(
    error: Mapping[str, Any], status: int, *, missing: str = "The service names no reason.", hint: str = ""
) -> RerankdError:
    """Return the error that a service names.

    Args:
        error: object with `code` and `message`.
        status: HTTP status that it has.
        missing: message where it has none.
        hint: description of the fix.

    Example:
        >>> read_error({"code": "invalid_request", "message": "query is empty."}, 400)
        InvalidRequestError('query is empty.')
    """
    cls = _ERRORS_BY_CODE.get(str(error.get("code")), _ERRORS_BY_STATUS.get(status, RerankdError))
    return cls(str(error.get("message") or missing), hint=hint)


def check_timeout(timeout: float | None) -> float | None:
    """Return a timeout that can be used.

    Raises:
        InvalidRequestError: neither None nor a finite number of seconds above 0.

    Example:
        >>> check_timeout(2.5)
        2.5
    """
    usable = isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout < math.inf
    if timeout is not None and not usable:
        raise InvalidRequestError(
            f"timeout is {timeout!r}.", hint="timeout must be a number of seconds above 0, or None."
        )
    return timeout


def check_url(url: str) -> tuple[str, str]:
    """Return the address to send to, and the address to show, which holds no password.

    Raises:
        InvalidRequestError: not the address of a service.

    Example:
        >>> check_url("http://user:secret@localhost:8000/")[1]
        'http://localhost:8000'
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidRequestError(
            "url is not the http:// or https:// address of a service.", hint='Pass it like "http://127.0.0.1:8000".'
        )
    return str(parsed).rstrip("/"), str(parsed.copy_with(userinfo=b"")).rstrip("/")


def _headers(api_key: str | None) -> httpx.Headers:
    key = (os.environ.get("RERANKD_API_KEY", "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InvalidRequestError(
            "The API key holds characters that no header can carry.",
            hint="Pass the key as `rerankd keys` shows it.",
        )
    headers = httpx.Headers({"User-Agent": f"rerankd/{__version__}", "Content-Type": "application/json"})
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _transport_error(error: httpx.HTTPError | None, url: str, timeout: float | None) -> RerankdError:
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return errors.DeadlineExceededError(
            f"{url} did not respond within {timeout} s.", hint="Allow a longer timeout, or send fewer documents."
        )
    if isinstance(error, httpx.NetworkError | httpx.ConnectTimeout | httpx.RemoteProtocolError | httpx.ProxyError):
        return UnavailableError(
            f"{url} cannot be reached ({reason}).",
            hint="Start the service with `rerankd serve`, or check url and the network.",
        )
    return RerankdError(f"The answer of {url} cannot be read ({reason}).", hint="Is it a rerankd service?")
