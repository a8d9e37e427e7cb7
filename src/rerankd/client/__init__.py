"""Clients of a rerankd service, for threads and for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.client.async_client import AsyncClient
    from rerankd.client.client import Client
    from rerankd.client.responses import JobStatus

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.client.async_client": ("AsyncClient",),
        "rerankd.client.client": ("Client",),
        "rerankd.client.responses": ("JobStatus",),
    },
)

__all__ = ["AsyncClient", "Client", "JobStatus"]
