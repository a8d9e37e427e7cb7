"""W3C trace context of outgoing requests: who is called by a traced program continues its trace."""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """Return the headers `traceparent` and `tracestate` of the current span; none without one.

    A program that traces nothing has not imported OpenTelemetry, and pays one look-up.

    Example:
        >>> trace_headers()
        {}
    """
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers
