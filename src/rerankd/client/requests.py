"""What the clients say and hear: requests built, answers read, errors mapped, retries decided.

Written once, as generators that yield what is to be done: a request to send, or seconds to wait.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Generator, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypedDict, TypeVar

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from rerankd import __version__, errors
from rerankd._common.validation import DocumentLike, plain_metadata, to_documents, to_pairs, to_query
from rerankd.client.responses import number, read_ranking, read_rows
from rerankd.errors import InvalidRequestError, RerankdError, RetryableError, UnavailableError
from rerankd.ranking.activation import check_activation
from rerankd.ranking.order import SCORE, checked_fusion, checked_threshold, first_score
from rerankd.types import Activation, Document, LongDocuments, RerankResult, Truncation, Usage

T = TypeVar("T")
Outcome = httpx.Response | httpx.HTTPError
Steps = Generator[httpx.Request | float, Outcome | None, T]

DEFAULT_TOP_N = 5  # the same as Reranker's, whose module would load numbers and models
PAIRS_PER_CALL = 1000
MAX_UNIT = 256
CONNECT_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0

_BY_CODE = {
    cls.code: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.RerankdError)
}
# What a proxy, or a server that is not ours, means by a status.
_BY_STATUS: dict[int, type[RerankdError]] = {
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


class RankOptions(TypedDict, total=False):
    """The keyword arguments of `Client.rank`."""

    model: str | None
    activation: Activation
    threshold: float | None
    fusion: str | None
    fusion_weight: float | None
    send_metadata: bool
    max_length: int | None
    truncation: Truncation | None
    long_documents: LongDocuments | None
    cache: bool | None
    timeout: float | None
    user: str | None
    session: str | None


def checked_units(units: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that say who asks, which a header can carry.

    Raises:
        InvalidRequestError: one cannot.
    """
    for name, unit in units.items():
        if len(unit) > MAX_UNIT or not (unit.isascii() and unit.isprintable()):
            raise InvalidRequestError(
                f"{name} cannot carry this.", hint=f"Give up to {MAX_UNIT} ASCII characters, such as a hash."
            )
    return units


class Calls:
    """What is said to the server and what its answers mean; it sends nothing itself."""

    def __init__(self, url: str, api_key: str | None, model: str | None, timeout: float | None, retries: int) -> None:
        self.url, self.shown_url = checked_url(url)
        self.model = model
        self.timeout = checked_timeout(timeout)
        if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
            raise InvalidRequestError(f"max_retries is {retries!r}.", hint="max_retries is a whole number from 0.")
        self.max_retries = retries
        self.headers = httpx.Headers({"User-Agent": f"rerankd/{__version__}", "Content-Type": "application/json"})
        key = (os.environ.get("RERANKD_API_KEY", "") if api_key is None else api_key).strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise InvalidRequestError(
                "The API key holds characters that no header can carry.",
                hint="Pass the key as `rerankd keys` shows it.",
            )
        if key:
            self.headers["Authorization"] = f"Bearer {key}"
        self.clock = time.monotonic
        self.wall_clock = time.time
        self.random = random.random

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = DEFAULT_TOP_N,
        *,
        model: str | None = None,
        activation: Activation = "sigmoid",
        threshold: float | None = None,
        fusion: str | None = None,
        fusion_weight: float | None = None,
        send_metadata: bool = False,
        max_length: int | None = None,
        truncation: Truncation | None = None,
        long_documents: LongDocuments | None = None,
        cache: bool | None = None,
        timeout: float | None = None,
        user: str | None = None,
        session: str | None = None,
    ) -> Steps[RerankResult]:
        """Rank documents, see `Client.rank`."""
        check_activation(activation)
        if top_n is not None and (not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1):
            raise InvalidRequestError(f"top_n is {top_n!r}.", hint="top_n is a whole number from 1.")
        lowest = checked_threshold(threshold)
        checked_fusion(fusion, fusion_weight)
        given = to_documents(documents)
        options: dict[str, Any] = {
            "model": model or self.model,
            "threshold": lowest if activation != "softmax" else None,
            "fusion": fusion,
            "fusion_weight": fusion_weight,
            "max_length": max_length,
            "truncation": truncation,
            "long_documents": long_documents,
            "cache": cache,
            "timeout": checked_timeout(timeout),
        }
        body = {
            "query": sendable(to_query(query)),
            "documents": [sent(document, send_metadata) for document in given],
            # A softmax is over all documents, so all scores are needed, and the threshold is ours to apply.
            "top_n": None if activation == "softmax" else top_n,
            "return_documents": False,
            "explain": True,
            "raw_scores": activation != "sigmoid",
        } | {name: value for name, value in options.items() if value is not None}
        if not given:
            return RerankResult((), model or self.model or "", Usage(0, 0, 0), {})
        units = {name: unit for name, unit in (("X-Rerankd-User", user), ("X-Rerankd-Session", session)) if unit}
        answer = yield from self.exchange("POST", "/v1/rerank", body, timeout, checked_units(units))
        return read_ranking(answer, given, top_n, activation, lowest)

    def score(
        self, pairs: Iterable[tuple[str, str]], *, model: str | None, activation: Literal["sigmoid", "none"]
    ) -> Steps[npt.NDArray[np.float64]]:
        """Score pairs, see `Client.score`."""
        if activation not in ("sigmoid", "none"):
            raise InvalidRequestError(
                f"The activation of pairs is {activation!r}.", hint="Use sigmoid or none; a softmax needs one query's."
            )
        checked = to_pairs(pairs)
        named = {"model": model or self.model} if model or self.model else {}
        scores = np.empty(len(checked), dtype=np.float64)
        for start in range(0, len(checked), PAIRS_PER_CALL):
            part = checked[start : start + PAIRS_PER_CALL]
            body = named | {
                "text_1": [sendable(pair.query) for pair in part],
                "text_2": [sendable(pair.document) for pair in part],
                "use_activation": activation == "sigmoid",
            }
            answer = yield from self.exchange("POST", "/v1/score", body)
            rows = read_rows(answer, "data", len(part), len(part))
            scores[[start + index for index, _ in rows]] = [number(row, "score") for _, row in rows]
        return scores

    def feedback(
        self, request_id: str, kind: str, *, index: int | None, document_id: str | None, value: float
    ) -> Steps[bool]:
        """Say what became of a ranking, see `Client.feedback`."""
        item: dict[str, Any] = {"request_id": request_id, "kind": kind, "value": value}
        item |= {name: own for name, own in (("index", index), ("document_id", document_id)) if own is not None}
        answer = yield from self.exchange("POST", "/v1/feedback", item)
        return bool(answer.get("pending") == 0)

    def models(self) -> Steps[list[str]]:
        """Names of the service's models."""
        answer = yield from self.exchange("GET", "/v1/models")
        listed = answer.get("data")
        if not isinstance(listed, list) or not all(isinstance(row, dict) and "id" in row for row in listed):
            raise RerankdError(f"{self.shown_url}/v1/models gave no list of models.", hint="Is it a rerankd service?")
        return [str(row["id"]) for row in listed]

    def ready(self) -> Steps[bool]:
        """Whether the service can score."""
        outcome = yield self._request("GET", "/readyz", None, self.timeout)
        return isinstance(outcome, httpx.Response) and outcome.status_code == 200

    def exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Steps[dict[str, Any]]:
        """Send a request, again where that can help, and give the answer's object."""
        timeout = self.timeout if timeout is None else timeout
        ends = math.inf if timeout is None else self.clock() + timeout
        content = None if body is None else orjson.dumps(body)
        attempt = 0
        while True:
            remaining = ends - self.clock()
            seconds = None if timeout is None else max(remaining, 0.001)
            outcome = yield self._request(method, path, content, seconds, headers)
            answer = self._read(outcome, path, timeout)
            if isinstance(answer, dict):
                return answer
            told = self._told_wait(outcome)
            wait = told
            if wait is None:
                wait = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * self.random()
            too_late = wait >= ends - self.clock()
            if isinstance(answer, RetryableError):
                answer.retry_after = wait if told is not None or too_late else answer.retry_after
                if attempt < self.max_retries and not too_late:
                    yield wait
                    attempt += 1
                    continue
            raise answer from (outcome if isinstance(outcome, httpx.HTTPError) else None)

    def _request(
        self,
        method: str,
        path: str,
        content: bytes | None,
        seconds: float | None,
        more: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        headers = self.headers.copy()
        headers.update(more or {})
        if seconds is not None:
            headers["X-Request-Timeout"] = f"{seconds:.3f}"
        connect = CONNECT_SECONDS if seconds is None else min(CONNECT_SECONDS, seconds)
        limits = httpx.Timeout(seconds, connect=connect).as_dict()
        return httpx.Request(method, self.url + path, headers=headers, content=content, extensions={"timeout": limits})

    def _read(self, outcome: Outcome | None, path: str, timeout: float | None) -> dict[str, Any] | RerankdError:
        place = self.shown_url + path
        if not isinstance(outcome, httpx.Response):
            return self._unanswered(outcome, place, timeout)
        try:
            body = orjson.loads(outcome.content)
        except orjson.JSONDecodeError:
            body = None
        status = outcome.status_code
        if outcome.is_success and isinstance(body, dict):
            return body
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return _BY_STATUS.get(status, RerankdError)(
                f"{place} answered {status} {outcome.reason_phrase}, and not in the service's form.".replace("  ", " "),
                hint="Check that url leads to a rerankd service, and what a proxy in between does.",
            )
        cls = _BY_CODE.get(str(error.get("code")), _BY_STATUS.get(status, RerankdError))
        named = outcome.headers.get("x-request-id", "")
        hint = f"Look for request {named} in the service's log." if named and status == 500 else ""
        return cls(str(error.get("message") or f"{place} answered {status}."), hint=hint)

    def _unanswered(self, error: httpx.HTTPError | None, place: str, timeout: float | None) -> RerankdError:
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return errors.DeadlineExceededError(
                f"{place} gave no answer within {timeout} s.", hint="Allow a longer timeout, or send fewer documents."
            )
        if isinstance(error, httpx.NetworkError | httpx.ConnectTimeout | httpx.RemoteProtocolError | httpx.ProxyError):
            return UnavailableError(
                f"{place} cannot be reached ({reason}).",
                hint="Start the service with `rerankd serve`, or check url and the network.",
            )
        return RerankdError(f"The answer of {place} cannot be read ({reason}).", hint="Is it a rerankd service?")

    def _told_wait(self, outcome: Outcome | None) -> float | None:
        if not isinstance(outcome, httpx.Response):
            return None
        for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
            told = outcome.headers.get(name, "")
            try:
                seconds = float(told) * unit
            except ValueError:
                try:
                    seconds = parsedate_to_datetime(told).timestamp() - self.wall_clock()
                except (ValueError, OverflowError):
                    continue
            if math.isfinite(seconds):
                return max(seconds, 0.0)
        return None


def sent(document: Document, metadata: bool = False) -> str | dict[str, Any]:
    """A text alone, or with its id and the first stage's score, which the service's traces keep.

    Args:
        document: what is ranked.
        metadata: whether the rest of its metadata travels too, for the service's rules.
    """
    text, score = sendable(document.text), first_score(document)
    about = {str(name): value for name, value in document.metadata.items() if name != SCORE} if metadata else {}
    if document.id is None and not about:
        return text
    body: dict[str, Any] = {"text": text} | ({"id": sendable(document.id)} if document.id is not None else {})
    if not math.isnan(score):
        body["score"] = score
    if about:
        body["metadata"] = json.loads(sendable(json.dumps(plain_metadata(about), ensure_ascii=False)))
    return body


def sendable(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD, as the encoder does; JSON cannot carry them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def checked_timeout(timeout: float | None) -> float | None:
    """The timeout, or `InvalidRequestError`."""
    usable = isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout < math.inf
    if timeout is not None and not usable:
        raise InvalidRequestError(f"timeout is {timeout!r}.", hint="timeout is a number of seconds above 0, or None.")
    return timeout


def checked_url(url: str) -> tuple[str, str]:
    """The address to send to, and the address to show: without a password."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidRequestError(
            "url is not the http:// or https:// address of a service.", hint='Pass it like "http://127.0.0.1:8000".'
        )
    return str(parsed).rstrip("/"), str(parsed.copy_with(userinfo=b"")).rstrip("/")
