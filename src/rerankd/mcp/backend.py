"""The service behind the MCP server: one that runs elsewhere, or one in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from rerankd._common.proxies import uses_proxies
from rerankd.client.exchange import Exchange

FORWARDED = (
    *("authorization", "x-api-key", "api-key"),
    *("x-request-id", "x-request-timeout", "x-rerankd-user", "x-rerankd-session"),
    *("traceparent", "tracestate"),
)
"""Headers of a caller that its requests to the service carry, so that keys, quotas and traces are the caller's own."""
_KEYS = frozenset({"authorization", "x-api-key", "api-key"})


class Backend:
    """Client of the service that the tools call.

    Args:
        url: address of the service.
        api_key: key for callers that send none of their own; empty for none, None for `RERANKD_API_KEY`.
        timeout: seconds that one call may take; None for no limit.
        transport: transport to a service in this process; None for the network.

    Raises:
        InvalidRequestError: the address or the key cannot be used.

    Example:
        >>> Backend("http://127.0.0.1:8000")
        Backend('http://127.0.0.1:8000')
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = "",
        timeout: float | None = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        # An agent is told at once that it is over its quota; it decides whether to wait.
        self._exchange = Exchange(url, api_key, timeout, max_retries=0)
        self._http = httpx.AsyncClient(transport=transport, trust_env=transport is None and uses_proxies(url))

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send one request.

        Args:
            method: HTTP method.
            path: path, with its query.
            body: object sent as JSON; None for no body.
            headers: headers of the caller; only those of `FORWARDED` are sent.

        Returns:
            The object in the response.

        Raises:
            RerankdError: the error that the service names.
        """
        forwarded = {name: value for name, value in (headers or {}).items() if name in FORWARDED}
        flow = self._exchange.send(method, path, body, headers=forwarded)
        try:
            request = next(flow)
            while isinstance(request, httpx.Request):
                if _KEYS & forwarded.keys() and "authorization" not in forwarded:
                    request.headers.pop("authorization", None)  # the caller's own key, not ours beside it
                request = flow.send(await self._send(request))
        except StopIteration as end:
            result: dict[str, Any] = end.value
            return result
        raise AssertionError("a flow without retries never sleeps")

    async def _send(self, request: httpx.Request) -> httpx.Response | httpx.HTTPError:
        try:
            return await self._http.send(request)
        except httpx.HTTPError as error:
            return error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def __repr__(self) -> str:
        return f"Backend({self._exchange.shown_url!r})"
