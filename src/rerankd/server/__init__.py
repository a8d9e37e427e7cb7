"""The HTTP service: one instance, its application and its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.server.app import create_app
    from rerankd.server.run import Server, listen, serve_forever
    from rerankd.server.service import Readiness, Service, open_service

__all__ = [
    "Readiness",
    "Server",
    "Service",
    "create_app",
    "listen",
    "open_service",
    "serve_forever",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.server.app": ("create_app",),
        "rerankd.server.run": ("Server", "listen", "serve_forever"),
        "rerankd.server.service": ("Readiness", "Service", "open_service"),
    },
)
