"""Both clients, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from rerankd import (
    AsyncClient,
    Client,
)
from tests.unit.client.remote import (
    Connect,
    Handler,
    Remote,
)


@pytest.fixture(params=[Client, AsyncClient])
async def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    monkeypatch.delenv("RERANKD_API_KEY", raising=False)
    made: list[Remote] = []

    def connect(handler: Handler, **options: Any) -> Remote:
        made.append(Remote(request.param, handler, options))
        return made[-1]

    yield connect
    for remote in made:
        await remote.call("close")
