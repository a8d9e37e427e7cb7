"""Announcing that a job has ended, signed as Standard Webhooks (standardwebhooks.com) says.

The body tells the job's id and state, not its texts: who is told fetches the result with a key.
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
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import orjson

from rerankd._common.logging import logger
from rerankd.errors import InvalidRequestError, RerankdError
from rerankd.jobs.job import Job, WebhookDelivery
from rerankd.jobs.store import JobStore

SECONDS = 10.0
ALL_SECONDS = 30.0
MAX_URL = 2048
BACKOFF_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0)
PREFIX = "whsec_"
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))

_log = logger(__name__)


class WebhookRefusedError(RerankdError):
    """A webhook may not go there, or was not taken there."""

    code = "webhook_refused"


def new_secret() -> str:
    """A secret for `webhook_secret`."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: HMAC-SHA256 over id, time and body.

    Raises:
        InvalidRequestError: the secret is not base64 of 24 bytes or more.

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
            "webhook_secret is not base64 of at least 24 bytes.", hint="Make one: rerankd jobs secret."
        )
    digest = hmac.new(key, f"{identity}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def validate_url(url: str) -> str:
    """Check how an address is written; where it leads is looked at when it is used.

    Raises:
        InvalidRequestError: not http or https, no host, or too long.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        _ = parts.port, httpx.URL(url).host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        sound = False
    if not sound or len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise InvalidRequestError("The webhook is not an http or https address.", hint="Use https://host/path.")
    return url


def event_body(job: Job) -> bytes:
    """What is sent."""
    about = {"id": job.id, "state": job.state, "total": job.total, "done": job.done, "failed": job.failed}
    when = datetime.fromtimestamp(job.finished, UTC).isoformat()
    return orjson.dumps({"type": f"job.{job.state}", "timestamp": when, "data": about | {"error": job.error or None}})


class WebhookSender:
    """Sends announcements, again and again with growing pauses where they are not taken.

    Args:
        store: where it is noted.
        secret: signs them.
        hosts: where they may go, also if that is a private address; empty for public addresses only.
    """

    def __init__(self, store: JobStore, secret: str | None, hosts: Sequence[str] = ()) -> None:
        self._store, self._secret, self._hosts = store, secret, frozenset(host.lower() for host in hosts)
        # No connection is kept: one that was made for a name is not used for another name at the same address.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=SECONDS, limits=limits, follow_redirects=False, trust_env=False)

    async def deliver(self, hook: WebhookDelivery) -> None:
        """Try once, and note how it went."""
        job = hook.job
        try:
            async with asyncio.timeout(ALL_SECONDS):  # a slow trickle of headers would never end
                await self._send(job)
        except (RerankdError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            again = BACKOFF_SECONDS[hook.attempts] if hook.attempts < len(BACKOFF_SECONDS) else None
            what = error.message if isinstance(error, RerankdError) else type(error).__name__
            then = f"again in {again:.0f} s" if again is not None else "given up"
            host = urlsplit(job.webhook).hostname  # the rest of the address may hold a secret
            _log.warning("webhook of %s to %s failed (%s), %s", job.id, host, what, then)
            await self._note(job, delivered=False, again=again)
        else:
            _log.info("webhook of %s was taken", job.id)
            await self._note(job, delivered=True, again=None)

    async def _note(self, job: Job, *, delivered: bool, again: float | None) -> None:
        await asyncio.to_thread(self._store.record_delivery, job.id, delivered=delivered, again=again)

    async def _send(self, job: Job) -> None:
        if not self._secret:
            raise WebhookRefusedError("There is no webhook_secret to sign with.")
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
        # The address that was checked is the one that is used, whatever the name leads to a moment later.
        pinned = url.copy_with(host=address)
        async with self._client.stream(
            "POST", pinned, content=body, headers=headers, extensions={"sni_hostname": url.host}
        ) as answer:
            if not answer.is_success:
                raise WebhookRefusedError(f"it answered {answer.status_code}")

    async def _address(self, url: httpx.URL) -> str:
        """Where a name leads, if webhooks may go there."""
        host = url.host.lower()
        if self._hosts and host not in self._hosts:
            raise WebhookRefusedError("the host is not in webhook_hosts")
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        if not self._hosts and not all(_public(address) for address in addresses):
            raise WebhookRefusedError("it leads to a private address; name the host in webhook_hosts to allow that")
        return addresses[0]

    async def close(self) -> None:
        """Let connections go."""
        await self._client.aclose()


def _public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if any(found in network for network in _TRANSLATED):  # a gateway makes the IPv4 address of its end
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        elif inner := found.ipv4_mapped or found.sixtofour:
            found = inner
        elif found.is_site_local:
            return False
    return found.is_global and not found.is_multicast
