"""Generated configuration of an nginx in front of several instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.server.nginx.config import render
    from rerankd.server.nginx.options import NginxOptions, Rate, ServiceLimits

__all__ = [
    "NginxOptions",
    "Rate",
    "ServiceLimits",
    "render",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.server.nginx.config": ("render",),
        "rerankd.server.nginx.options": ("NginxOptions", "Rate", "ServiceLimits"),
    },
)
