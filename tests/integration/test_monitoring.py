from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rerankd.server.observability.metrics import Metrics
from rerankd.server.service import open_service
from rerankd.settings import load_settings

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "rerankd.json").read_text(encoding="utf-8"))
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own checker."""
    program = shutil.which("promtool")
    if program is None:
        sentence = "promtool is not installed. Install it: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return program


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Names of series that an instance exports, with their labels where a metric declares them."""
    service = open_service(load_settings())
    names = [
        f"{family.name}{suffix}"
        for family in service.metrics.registry.collect()
        for suffix in SUFFIXES.get(family.type, ("",))
    ]
    metrics = [value for value in vars(Metrics()).values() if hasattr(value, "_labelnames")]
    labels = {metric._name: set(metric._labelnames) for metric in metrics}
    return {name: labels.get(re.sub(r"_(bucket|sum|count|total)$", "", name), set()) for name in names}


def rules() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def check(promtool: str, *words: str | Path) -> None:
    done = subprocess.run([promtool, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration(promtool: str) -> None:
    check(promtool, "check", "config", PROMETHEUS / "prometheus.yml")


def test_prometheus_accepts_the_rules(promtool: str) -> None:
    check(promtool, "check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "rules.yml")


def test_alerts_fire_when_they_should_and_only_then(promtool: str) -> None:
    check(promtool, "test", "rules", Path(__file__).with_name("rules.test.yml"))


def test_every_alert_is_tested() -> None:
    tests = Path(__file__).with_name("rules.test.yml").read_text(encoding="utf-8")
    for rule in rules():
        if "alert" in rule:
            assert f"alertname: {rule['alert']}\n" in tests, rule["alert"]


def test_every_alert_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if f"`{rule.get('alert')}`" not in page and "alert" in rule] == []


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert rule["annotations"]["summary"].endswith("."), rule["alert"]
            assert rule["annotations"]["action"].endswith("."), rule["alert"]


def test_dashboard_expressions_parse(promtool: str, tmp_path: Path) -> None:
    expressions = [re.sub(r"\$__rate_interval", "5m", expr) for expr in dashboard_expressions()]
    records = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    wrapped = tmp_path / "dashboard.yml"
    wrapped.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}))
    check(promtool, "check", "rules", wrapped)


def test_only_metrics_that_exist_are_asked_for(exported: dict[str, set[str]]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    queries = [
        variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"
    ]
    for expression in [rule["expr"] for rule in rules()] + dashboard_expressions() + queries:
        for name in re.findall(r"rerankd[\w:]*", re.sub(r'"[^"]*"', '""', expression)):
            assert name in exported or name in recorded, name


def test_only_labels_that_exist_are_asked_for(exported: dict[str, set[str]]) -> None:
    for expression in [rule["expr"] for rule in rules()] + dashboard_expressions():
        for name, inside in re.findall(r"(rerankd_\w+)\{([^}]*)\}", re.sub(r'"[^"]*"', '""', expression)):
            if declared := exported[name]:
                labels = set(re.findall(r"(\w+)\s*[=!]", inside))
                assert labels <= declared | {"job", "instance", "le"}, (name, labels)


def test_dashboard_is_provisioned() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    chosen = next(one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource")
    assert chosen["current"]["value"] == source["uid"]
    assert chosen["query"] == source["type"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert not cells & taken, panel["title"]
        assert position["x"] + position["w"] <= 24, panel["title"]
        taken |= cells
