"""A collector that nobody here wrote (rotel), and the receiver that it passes spans on to."""

from __future__ import annotations

import contextlib
import gzip
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.serving import free_port, until

MISSING = "needs the collector rotel; install: pip install rotel (Linux on x86-64)"


@dataclass(frozen=True)
class Span:
    """A span as the collector passes it on."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]


@dataclass
class Collector:
    """A running collector.

    Attributes:
        endpoint: address that it takes spans at.
        spans: the spans that it has passed on.
    """

    endpoint: str
    spans: list[Span] = field(default_factory=list)

    def wait(self, trace_id: str, *names: str) -> dict[str, Span]:
        """Return the spans of a trace by name, once those with these names are there."""

        def arrived() -> dict[str, Span]:
            return {span.name: span for span in list(self.spans) if span.trace_id == trace_id}

        until(lambda: set(names) <= arrived().keys(), f"all of {names}, but {[*arrived()]}", 20)
        return arrived()


def collector_binary() -> Path | None:
    """Return the collector's program; None if it is not installed."""
    found = find_spec("rotel")
    binary = Path(found.origin).with_name("rotel-agent") if found is not None and found.origin else None
    return binary if binary is not None and binary.exists() else None


@contextlib.contextmanager
def running_collector(log: Path) -> Iterator[Collector]:
    """Run the collector until the block ends."""
    port, grpc = free_port(), free_port()
    collector = Collector(f"http://127.0.0.1:{port}/v1/traces")

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    flags = {
        "otlp-http-endpoint": f"127.0.0.1:{port}",
        "otlp-grpc-endpoint": f"127.0.0.1:{grpc}",
        "exporter": "otlp",
        "otlp-exporter-endpoint": f"http://127.0.0.1:{receiver.server_port}",
        "otlp-exporter-protocol": "http",
        "traces-batch-timeout": "50ms",
    }
    arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
    with log.open("wb") as sink:
        process = subprocess.Popen([str(collector_binary()), "start", *arguments], stdout=sink, stderr=sink)
    try:
        until(lambda: _answers(collector.endpoint), "a running collector", 20)
        yield collector
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        receiver.shutdown()
        receiver.server_close()


def _answers(endpoint: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        httpx.get(endpoint, trust_env=False)
        return True
    return False


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
