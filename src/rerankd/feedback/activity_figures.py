"""Figures of the time before a moment that alerts watch: drift of scores, gain by feedback, share of slow rankings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from rerankd.database import tables
from rerankd.feedback.activity_series import TimeBuckets, feedback_query
from rerankd.feedback.activity_summaries import MINUTE
from rerankd.feedback.monitoring import EVERYONE, MonitorWindows
from rerankd.feedback.rates import gain_interval
from rerankd.feedback.score_drift import drift, read_scores
from rerankd.feedback.sketch import EMPTY
from rerankd.traces.store import TraceStore


@dataclass(frozen=True, slots=True)
class ActivityFigures:
    """Reads the figures of a tenant, or of all together, by model.

    Args:
        store: store of traces, whose summaries are up to date.
        windows: windows and minimum counts.
        tenant: tenant; None for all together.
    """

    store: TraceStore
    windows: MonitorWindows
    tenant: str | None = None

    def drift(self, moment: int) -> dict[str, float]:
        """Return the population stability index of the scores in the window before a moment, where it is known."""
        begin = moment - int(self.windows.seconds)
        current = read_scores(self.store, begin, moment, self.tenant)
        if all(len(scores) < self.windows.floor for scores in current.values()):
            return {}
        reference = read_scores(self.store, begin - int(self.windows.reference_seconds), begin, self.tenant)
        values = {
            model: drift(reference.get(model, EMPTY), scores, self.windows.floor) for model, scores in current.items()
        }
        return {model: value for model, value in values.items() if value is not None}

    def gain_high(self, moment: int) -> dict[str, float]:
        """Return the upper end of the interval of the gain in reciprocal rank, where there is feedback enough."""
        minutes = int(self.windows.seconds) // MINUTE
        buckets = TimeBuckets(moment // MINUTE * MINUTE - minutes * MINUTE, MINUTE, minutes)
        model = tables.judged_ranking.c.model
        with self.store.connect() as connection:
            rows = connection.execute(feedback_query(buckets, self.tenant).add_columns(model).group_by(model)).all()
        highs = {}
        for row in rows:
            if (count := int(row.chosen)) >= self.windows.feedback_floor:
                high = gain_interval(count, row.after - row.before, row.squares)[2]
                if high is not None:
                    highs[row.model] = high
        return highs

    def slow_shares(self, moment: int, seconds: Mapping[str, int]) -> dict[str, float]:
        """Return the shares of slow rankings in times before a moment, all models together; 0 without rankings.

        Args:
            moment: end of the times.
            seconds: length of each time by its name, up to eight hours.
        """
        columns = tables.activity_summary.c
        tenant = EVERYONE if self.tenant is None else self.tenant
        shares = {}
        with self.store.connect() as connection:
            for name, length in seconds.items():
                query = select(func.sum(columns.slow), func.sum(columns.requests - columns.jobs)).where(
                    columns.step == MINUTE,
                    columns.tenant == tenant,
                    columns.start >= moment - length,
                    columns.start < moment,
                )
                slow, waited = connection.execute(query).one()
                shares[name] = float(slow) / float(waited) if waited else 0.0
        return shares
