"""Settlement of jobs: a job is charged with an estimate when it is submitted, and corrected when it has ended."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from rerankd.jobs.job import Job
from rerankd.server.auth.keys import ApiKey
from rerankd.server.auth.quotas import QuotaStore

MAX_REMEMBERED = 100_000


@dataclass(slots=True)
class _Charge:
    key: ApiKey
    tokens: int
    computed_before: int
    requests: int


class JobUsage:
    """Charges of the jobs that this instance accepted and that have not ended. Lives in one event loop.

    A job whose instance restarts before it ends stays charged with the estimate.

    Args:
        quotas: store of the quotas.
    """

    def __init__(self, quotas: QuotaStore) -> None:
        self._quotas = quotas
        self._charges: OrderedDict[str, _Charge] = OrderedDict()
        self._ended: OrderedDict[str, tuple[Job, int]] = OrderedDict()

    async def charged(self, job: Job, key: ApiKey | None, tokens: int) -> None:
        """Remember what a key was charged with for a job that was queued just now.

        Args:
            job: the job; what it has computed already is not settled again.
            key: the key; None where no key is required.
            tokens: the tokens that were charged.
        """
        if key is None or not tokens:
            return
        charge = self._charges.setdefault(job.id, _Charge(key, 0, job.computed, job.total - job.done))
        charge.tokens += tokens
        _trim(self._charges)
        if job.id in self._ended:  # it has ended before this call
            await self.settle(*self._ended.pop(job.id))

    async def settle(self, job: Job, interrupted: int) -> None:
        """Replace the estimate of a job that has ended with what was computed.

        Args:
            job: the job.
            interrupted: its requests that were begun and have no result; they cost their estimate.
        """
        charge = self._charges.pop(job.id, None)
        if charge is None:
            self._ended[job.id] = job, interrupted
            _trim(self._ended)
            return
        begun = charge.tokens * min(interrupted, charge.requests) // max(1, charge.requests)
        spent = job.computed - charge.computed_before + begun
        await self._quotas.correct(charge.key, spent - charge.tokens, time.time())


def remaining_charge(job: Job) -> int:
    """Return the tokens to charge when a job is queued again: the estimate of its requests without a result.

    Example:
        >>> remaining_charge(Job("job_1", "failed", "", "bulk", 0.0, total=4, done=3, charged=100))
        25
    """
    return job.charged * (job.total - job.done) // max(1, job.total)


def _trim(entries: OrderedDict[str, Any]) -> None:
    while len(entries) > MAX_REMEMBERED:
        entries.popitem(last=False)
