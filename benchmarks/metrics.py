"""Prometheus metrics of servers and workers on this machine."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter

# Nothing goes through a proxy, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch_metrics(url: str) -> dict[str, float]:
    """Return the current metrics of a service.

    Args:
        url: base URL of the service, without a trailing slash.
    """
    with _OPENER.open(f"{url}/metrics", timeout=30) as response:
        return read_metrics(response.read().decode())


def read_metrics(text: str) -> dict[str, float]:
    """Return the sums of Prometheus samples by name.

    Example:
        >>> read_metrics('a{x="1"} 2.0\\na{x="2"} 3.0')
        {'a': 5.0}
    """
    samples: Counter[str] = Counter()
    for name, value in re.findall(r"^([a-z_]+)(?:\{.*\})? (\S+)$", text, re.MULTILINE):
        samples[name] += float(value)  # type: ignore[assignment]
    return dict(samples)
