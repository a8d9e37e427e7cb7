"""The table of alerts and the rules for Prometheus say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rerankd.console.messages import messages
from rerankd.feedback.activity_summaries import SLOW_MS
from rerankd.server.observability.alert_rules import ALERT_RULES, AlertRule

RULES = Path(__file__).parents[4] / "deploy" / "prometheus" / "rules.yml"
UNITS = {"s": 1, "m": 60, "h": 3600}


def shipped() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_the_table_has_all_shipped_alerts() -> None:
    assert {rule.name for rule in ALERT_RULES} == set(shipped())
    assert len({rule.name for rule in ALERT_RULES}) == len(ALERT_RULES)


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule.name)
def test_prometheus_has_the_same_rule(rule: AlertRule) -> None:
    entry = shipped()[rule.name]
    assert entry["labels"]["severity"] == rule.severity
    amount, unit = re.fullmatch(r"(\d+)(\w)", entry.get("for", "0s")).groups()  # type: ignore[union-attr]
    assert int(amount) * UNITS[unit] == rule.seconds
    if rule.expression:
        assert " ".join(entry["expr"].split()) == rule.expression


def test_prometheus_calls_the_same_requests_slow() -> None:
    edges = set(re.findall(r'le="([\d.]+)"', RULES.read_text(encoding="utf-8")))
    assert {float(edge) * 1000 for edge in edges} == {SLOW_MS}


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule.name)
def test_every_alert_that_is_evaluated_here_has_words(rule: AlertRule) -> None:
    assert bool(rule.expression) == (rule.source != "prometheus")
    if rule.source != "prometheus":
        assert f"alert.{rule.name}" in messages()
        assert f"alert.{rule.name}_action" in messages()


@pytest.mark.parametrize(("comparison", "below", "at", "above"), [(">", 0, 0, 1), ("<", 1, 0, 0), ("==", 0, 1, 0)])
def test_a_threshold_is_violated(comparison: Any, below: int, at: int, above: int) -> None:
    rule = AlertRule("a", "info", threshold=2.0, comparison=comparison)
    assert [rule.holds(value) for value in (1.0, 2.0, 3.0)] == [bool(below), bool(at), bool(above)]
