"""Webhooks for jobs that have ended, signed as Standard Webhooks (standardwebhooks.com).

The body names the job and its state and holds no texts: the receiver fetches the results with its API key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import orjson

from rerankd._common.error_text import public_message
from rerankd._common.logging import logger
from rerankd.errors import InvalidRequestError, RerankdError
from rerankd.jobs.job import Job, WebhookDelivery
from rerankd.jobs.store import JobStore

TIMEOUT_SECONDS = 10.0
TOTAL_SECONDS = 30.0
MAX_URL = 2048
# The schedule that docs/jobs.md promises to receivers.
RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0)
PREFIX = "whsec_"
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::/96")))
# Addresses that a network or a cloud keeps for itself, which not every version of Python knows as private: local
# translation to IPv4, addresses for protocols and the metadata services of clouds among them, relays.
_INTERNAL = tuple(
    map(ipaddress.ip_network, ("64:ff9b:1::/48", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "fec0::/10"))
)

_log = logger(__name__)


class WebhookRefusedError(RerankdError):
    """The webhook may not be sent to this address, or the receiver rejected it."""

    code = "webhook_refused"


def new_secret() -> str:
    """Return a new secret for the setting `webhook_secret`."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header: HMAC-SHA256 over id, time and body.

    Args:
        secret: base64 of the key, with or without `whsec_`.
        identity: `webhook-id` of the delivery.
        timestamp: `webhook-timestamp` of the delivery, in seconds.
        body: bytes of the request body.

    Raises:
        InvalidRequestError: the secret is not base64 of at least 24 bytes.

    Example:
        >>> sign("whsec_" + "A" * 32, "job_1", 0, b"{}")
        'v1,ofYpTTWO8EpWtjWcsWez/+r6mjiH+61ow7ET4EtmKXg='
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < 24:
        raise InvalidRequestError(
            "webhook_secret is not base64 of at least 24 bytes.", hint="Generate one with `rerankd jobs secret`."
        )
    digest = hmac.new(key, f"{identity}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def validate_url(url: str) -> str:
    """Return a webhook URL that is well-formed; `check_receiver` checks where it leads.

    Raises:
        InvalidRequestError: it is not an http or https URL with a host, or too long.
    """
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        is_valid = is_valid and parts.port != 0
        _ = httpx.URL(url).host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        is_valid = False
    if not is_valid or len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise InvalidRequestError("The webhook is not an http or https URL.", hint="Use https://host/path.")
    return url


def check_receiver(url: str, hosts: Collection[str]) -> None:
    """Check that webhooks may be sent to the host of a URL. Its name is resolved, which may take seconds.

    A name that cannot be resolved passes: that may change until the job ends, and every delivery checks again.

    Args:
        url: well-formed URL.
        hosts: hosts that webhooks may be sent to, private addresses included; empty for any public address.

    Raises:
        InvalidRequestError: they may not.
    """
    parsed = httpx.URL(url)
    try:
        resolved = socket.getaddrinfo(parsed.host, None, type=socket.SOCK_STREAM) if not hosts else []
    except (OSError, ValueError):
        return
    if reason := _refusal(parsed.host, [str(entry[4][0]) for entry in resolved], hosts):
        raise InvalidRequestError(
            f"The webhook may not be sent: {reason}.", hint="Use another host, or add it to the setting webhook_hosts."
        )


def _refusal(host: str, addresses: Iterable[str], hosts: Collection[str]) -> str:
    """Return the reason why no webhook may be sent to a host with these addresses; empty for none."""
    if hosts:
        return "" if host.lower() in {name.lower() for name in hosts} else "the host is not in webhook_hosts"
    if all(map(_public, addresses)):
        return ""
    return "the host has a private address and is not in webhook_hosts"


def event_body(job: Job) -> bytes:
    """Return the body of the webhook of a job that has ended."""
    data = {
        "id": job.id,
        "state": job.state,
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "error": job.error or None,
    }
    timestamp = datetime.fromtimestamp(job.finished, UTC).isoformat()
    return orjson.dumps({"type": f"job.{job.state}", "timestamp": timestamp, "data": data})


class WebhookSender:
    """Sends webhooks, and schedules another attempt for those that the receiver does not accept.

    Args:
        store: store that the outcome is recorded in.
        secret: key that signs them.
        hosts: hosts that webhooks may be sent to, private addresses included; empty for any public address.
    """

    def __init__(self, store: JobStore, secret: str | None, hosts: Collection[str] = ()) -> None:
        self._store, self._secret, self._hosts = store, secret, hosts
        # No keep-alive: a connection that was opened for one host must not serve another host at the same address.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, limits=limits, follow_redirects=False, trust_env=False
        )

    async def deliver(self, delivery: WebhookDelivery) -> None:
        """Send a webhook once and record the outcome."""
        job = delivery.job
        try:
            async with asyncio.timeout(TOTAL_SECONDS):  # a slow trickle of headers restarts the client's timeout
                await self._send(job)
        except (RerankdError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            pause = RETRY_SECONDS[delivery.attempts] if delivery.attempts < len(RETRY_SECONDS) else None
            reason = public_message(error)
            outcome = f"next attempt in {pause:.0f} s" if pause is not None else "giving up"
            host = urlsplit(job.webhook).hostname  # the rest of the URL may hold a secret
            _log.warning("webhook of %s to %s failed (%s), %s", job.id, host, reason, outcome)
            await self._record(job, delivered=False, retry_after=pause, error=reason)
        else:
            _log.info("webhook of %s was delivered", job.id)
            await self._record(job, delivered=True, retry_after=None)

    async def _record(self, job: Job, *, delivered: bool, retry_after: float | None, error: str = "") -> None:
        await asyncio.to_thread(
            self._store.record_delivery, job.id, delivered=delivered, retry_after=retry_after, error=error
        )

    async def _send(self, job: Job) -> None:
        if not self._secret:
            raise WebhookRefusedError("no webhook_secret is set to sign it")
        url = httpx.URL(job.webhook)
        address = await self._address(url)
        body, now = event_body(job), int(time.time())
        headers = {
            "host": url.netloc.decode(),
            "content-type": "application/json",
            "user-agent": "rerankd",
            "webhook-id": f"{job.id}.{job.finished:.0f}",
            "webhook-timestamp": str(now),
        }
        headers["webhook-signature"] = sign(self._secret, headers["webhook-id"], now, body)
        # The request goes to the address that was checked: the name may resolve to another one a moment later.
        pinned = url.copy_with(host=address)
        async with self._client.stream(
            "POST", pinned, content=body, headers=headers, extensions={"sni_hostname": url.host}
        ) as response:
            if not response.is_success:
                raise WebhookRefusedError(f"the receiver answered {response.status_code}")

    async def _address(self, url: httpx.URL) -> str:
        """Return an address of the host, if webhooks may be sent to it."""
        if self._hosts and (reason := _refusal(url.host, (), self._hosts)):
            raise WebhookRefusedError(reason)
        port = url.port or (443 if url.scheme == "https" else 80)
        resolved = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in resolved]
        if reason := _refusal(url.host, addresses, self._hosts):
            raise WebhookRefusedError(reason)
        return addresses[0]

    async def close(self) -> None:
        """Close the HTTP client."""
        await self._client.aclose()


def _public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _TRANSLATED):  # a gateway turns its last 32 bits into an IPv4 address
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif embedded := ip.ipv4_mapped or ip.sixtofour:
            ip = embedded
        elif _is_isatap(ip) or ip.is_reserved:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _INTERNAL)


def _is_isatap(ip: ipaddress.IPv6Address) -> bool:
    """Return True for an address of a tunnel that ends at the IPv4 address in its last 32 bits."""
    return (int(ip) >> 32) & 0xFDFFFFFF == 0x00005EFE
