"""Alerts that are firing now, by the shipped rules and the figures that an instance can read.

An alert whose figures come from traces is looked up in the past too, so that `pending` and `firing` are what Prometheus
says. A gauge has no past here: its alert is pending until its condition has been seen for as long as the rule demands.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prometheus_client.registry import CollectorRegistry

from rerankd.server.observability.alert_rules import ALERT_RULES, MINUTE, AlertRule

if TYPE_CHECKING:
    from rerankd.feedback.activity_figures import ActivityFigures

State = Literal["pending", "firing"]
CHECKS = 3  # moments within the time of a rule at which a figure of the traces is read


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that holds now.

    Attributes:
        name: name of the rule.
        severity: `critical`, `warning` or `info`.
        state: `firing` if it has held for as long as the rule demands, else `pending`.
        subject: model or dependency that is affected; empty for all.
        value: the figure.
        threshold: its limit.
        seconds: time for which the rule demands it.
    """

    name: str
    severity: str
    state: State
    subject: str
    value: float
    threshold: float
    seconds: int


def trace_alerts(figures: ActivityFigures, now: float) -> list[Alert]:
    """Return the alerts whose figures come from traces.

    Args:
        figures: figures of a tenant, or of all together.
        now: seconds since 1970.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    read: Mapping[str, Callable[[AlertRule, int], dict[str, float]]] = {
        "RerankdRerankingHurts": lambda _, moment: figures.gain_high(moment),
        "RerankdScoresDrift": lambda _, moment: figures.drift(moment),
        "RerankdSlowFast": lambda rule, moment: _least_slow(rule, figures, moment),
        "RerankdSlow": lambda rule, moment: _least_slow(rule, figures, moment),
    }
    alerts = []
    end = (int(now) // MINUTE + 1) * MINUTE
    for rule in ALERT_RULES:
        if rule.source != "traces":
            continue
        current = {name: value for name, value in read[rule.name](rule, end).items() if rule.holds(value)}
        held = set(current)
        for check in range(1, CHECKS):  # the past is read only where there is something to say
            if held:
                past = read[rule.name](rule, end - rule.seconds * check // (CHECKS - 1))
                held = {name for name in held if name in past and rule.holds(past[name])}
        alerts += [
            _alert(rule, "firing" if name in held else "pending", name, value) for name, value in current.items()
        ]
    return alerts


def _least_slow(rule: AlertRule, figures: ActivityFigures, moment: int) -> dict[str, float]:
    return {"": min(figures.slow_shares(moment, rule.spans).values())}


class InstanceAlerts:
    """Alerts whose figures are gauges of this instance; remembers since when a condition has been seen.

    Args:
        registry: gauges of the instance.
        clock: monotonic seconds.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._since: dict[tuple[str, str], float] = {}

    def poll(self) -> list[Alert]:
        """Return the alerts whose conditions hold now."""
        now, alerts = self._clock(), []
        rules = [rule for rule in ALERT_RULES if rule.source == "instance"]
        samples = self._samples({name for rule in rules for name in (rule.gauge, rule.divisor) if name})
        since: dict[tuple[str, str], float] = {}
        for rule in rules:
            for subject, value in _figures(rule, samples).items():
                if rule.holds(value):
                    begun = since[rule.name, subject] = self._since.get((rule.name, subject), now)
                    state: State = "firing" if now - begun >= rule.seconds else "pending"
                    alerts.append(_alert(rule, state, subject, value))
        self._since = since
        return alerts

    def _samples(self, names: set[str]) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
        samples: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for family in self._registry.collect():
            if family.name in names:
                samples[family.name] += [(sample.labels, sample.value) for sample in family.samples]
        return samples


def _figures(rule: AlertRule, samples: Mapping[str, Iterable[tuple[Mapping[str, str], float]]]) -> dict[str, float]:
    """Return the figures of a rule by the value of its label."""
    divisors = {labels.get(rule.label, ""): value for labels, value in samples.get(rule.divisor, ())}
    figures = {}
    for labels, value in samples.get(rule.gauge, ()):
        if rule.only is not None and labels.get(rule.only[0]) != rule.only[1]:
            continue
        subject = labels.get(rule.label, "")
        if not rule.divisor:
            figures[subject] = value
        elif divisors.get(subject):
            figures[subject] = value / divisors[subject]
    return figures


def _alert(rule: AlertRule, state: State, subject: str, value: float) -> Alert:
    return Alert(rule.name, rule.severity, state, subject, value, rule.threshold, rule.seconds)
