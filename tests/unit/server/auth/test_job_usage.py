from __future__ import annotations

from dataclasses import replace

import pytest

from rerankd.errors import RateLimitedError
from rerankd.jobs.job import Job, State
from rerankd.server.auth.job_usage import JobUsage, remaining_charge
from rerankd.server.auth.keys import ApiKey, new_key

JOB = Job("job_1", "running", "team", "bulk", 0.0, total=10, charged=1000)


class Corrections:
    """Quotas that keep what they are corrected by."""

    def __init__(self) -> None:
        self.deltas: list[int] = []

    async def charge(self, key: ApiKey, tokens: int, now: float, *, requests: int = 1) -> None:
        raise RateLimitedError("too many")

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        self.deltas.append(delta_tokens)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("state", "computed", "interrupted", "delta"),
    [
        ("succeeded", 700, 0, -300),  # the estimate was too high
        ("succeeded", 4000, 0, 3000),  # long documents were read in chunks
        ("failed", 600, 0, -400),
        ("cancelled", 0, 0, -1000),  # before anything began
        ("cancelled", 300, 2, -500),  # what was begun costs its estimate
        ("expired", 300, 10, 300),
    ],
)
async def test_a_job_costs_what_it_computed(state: State, computed: int, interrupted: int, delta: int) -> None:
    quotas = Corrections()
    usage = JobUsage(quotas)
    await usage.charged(JOB, new_key("team")[1], 1000)
    await usage.settle(replace(JOB, state=state, computed=computed), interrupted)
    await usage.settle(replace(JOB, state=state, computed=computed), interrupted)
    assert quotas.deltas == [delta]


async def test_a_job_that_ends_before_its_charge_is_noted_is_settled_too() -> None:
    quotas = Corrections()
    usage = JobUsage(quotas)
    await usage.settle(replace(JOB, state="succeeded", computed=10), 0)
    assert not quotas.deltas
    await usage.charged(JOB, new_key("team")[1], 1000)
    assert quotas.deltas == [-990]


async def test_a_job_that_is_queued_again_is_charged_and_settled_again() -> None:
    quotas, key = Corrections(), new_key("team")[1]
    usage = JobUsage(quotas)
    await usage.charged(JOB, key, 1000)
    cancelled = replace(JOB, state="cancelled", done=4, computed=380)
    await usage.settle(cancelled, 0)
    again = remaining_charge(cancelled)
    assert again == 600
    await usage.charged(replace(cancelled, state="queued"), key, again)
    await usage.settle(replace(cancelled, state="succeeded", done=10, computed=980), 0)
    assert quotas.deltas == [-620, 0]
    assert 1000 + again + sum(quotas.deltas) == 980


async def test_without_keys_nothing_is_remembered() -> None:
    quotas = Corrections()
    usage = JobUsage(quotas)
    await usage.charged(JOB, None, 1000)
    await usage.settle(JOB, 0)
    assert not quotas.deltas
