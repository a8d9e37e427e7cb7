from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest

from rerankd.rules.watcher import RulesWatcher
from rerankd.server.observability.collectors import RuleGauges, TraceCounts
from rerankd.traces.writer import TraceWriter, WriterCounts


def test_rules_in_force_and_whether_they_are_stale() -> None:
    rules = SimpleNamespace(current=Rules(version="v1"), error="")
    registry = CollectorRegistry()
    registry.register(RuleGauges(cast("RulesWatcher", rules)))
    assert registry.get_sample_value("rerankd_rules_info", {"version": "v1"}) == 3
    assert registry.get_sample_value("rerankd_rules_stale") == 0
    rules.error = "line 2 is not a rule"
    assert registry.get_sample_value("rerankd_rules_stale") == 1


def test_every_reason_to_drop_a_trace_has_a_series_from_the_start() -> None:
    counts = WriterCounts(written=7, dropped=Counter(full=2), is_up=False)
    writer = SimpleNamespace(counts=counts, queued=3, queued_bytes=300)
    registry = CollectorRegistry()
    registry.register(TraceCounts(cast("TraceWriter", writer)))
    text = generate_latest(registry).decode()
    assert "rerankd_traces_written_total 7.0" in text
    for reason, count in (("full", 2), ("redaction", 0), ("invalid", 0), ("closed", 0)):
        assert f'rerankd_traces_dropped_total{{reason="{reason}"}} {count}.0' in text
    assert "rerankd_traces_queue_size 3.0" in text
    assert "rerankd_traces_up 0.0" in text


class Rules:
    """Three rules of a version."""

    def __init__(self, version: str) -> None:
        self.version = version

    def __len__(self) -> int:
        return 3
