"""Load on servers while something about them changes; what each client was told is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import httpx

Kept = TypeVar("Kept")


class Load(Generic[Kept]):
    """Clients that send one request after the other, from the start of a `with` block to its end.

    Args:
        urls: the servers; each client goes from one to the next.
        send: function that sends a request and returns what is kept of the response. It gets the client, the URL, the
            client's number, and the number of the request.
        clients: number of clients.
        pause: seconds between the requests of a client, so that the servers keep time for what changes.
    """

    def __init__(
        self,
        urls: Sequence[str],
        send: Callable[[httpx.Client, str, int, int], Kept],
        *,
        clients: int = 2,
        pause: float = 0.02,
    ) -> None:
        self._urls, self._send, self._pause = urls, send, pause
        self._stop, self.answered = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._working = [self._pool.submit(self._work, client) for client in range(clients)]

    def _work(self, client: int) -> list[Kept]:
        kept: list[Kept] = []
        with httpx.Client(timeout=60) as http:
            while not self._stop.wait(self._pause):
                url = self._urls[(client + len(kept)) % len(self._urls)]
                kept.append(self._send(http, url, client, len(kept)))
                self.answered.set()
        return kept

    def __enter__(self) -> Load[Kept]:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    @property
    def answers(self) -> list[Kept]:
        """What was kept of all responses, at the end; raises the error of a client."""
        return [one for working in self._working for one in working.result(60)]
