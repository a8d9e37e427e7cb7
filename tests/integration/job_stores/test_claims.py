"""Contract of both job stores: who gets a part. A negative lease expires at once, a tiny timeout too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankd.errors import OverloadedError
from rerankd.jobs.job import Claim
from rerankd.jobs.redis_store import RedisStore
from tests.integration.job_stores.jobs import Open, claimed, contents, job, kept, stands


def test_interactive_before_bulk_and_owners_take_turns(opened: Open) -> None:
    store = opened()
    kept(store, job("a", "b", "c", tenant="long", priority="bulk"))
    kept(store, job("d", tenant="short", priority="bulk"))
    kept(store, job("e", tenant="long"))
    assert claimed(store, bulk=False).payload == b"e"
    assert store.claim(bulk=False) is None
    order = [claimed(store) for _ in range(4)]
    assert [claim.tenant for claim in order[:2]] in (["long", "short"], ["short", "long"])
    assert [claim.payload for claim in order if claim.tenant == "long"] == [b"a", b"b", b"c"]


def test_a_silent_worker_loses_its_part_and_what_it_brings_late(opened: Open) -> None:
    lost, alive = opened(lease_seconds=-1.0), opened()
    new = kept(lost, job("ab"))
    silent = claimed(lost)
    assert alive.reap_expired_leases() == 1
    again = claimed(alive)
    assert (again.payload, again.attempt) == (b"ab", 1)  # no failure of its own
    assert alive.renew([silent, again]) == [False, True]
    assert alive.reap_expired_leases() == 0
    assert alive.finish(silent, b"late", 2, 0) is None
    assert not alive.requeue(silent, 0.0, count_attempt=True)
    assert alive.finish(again, b"right", 2, 0)
    assert alive.finish(again, b"twice", 2, 0) is None
    assert (stands(alive, new.id).done, contents(alive, new.id)) == (2, [b"right"])


def test_a_part_that_kills_its_workers_is_set_aside(opened: Open) -> None:
    store = opened(lease_seconds=-1.0, max_lost_leases=2)
    new = kept(store, job("ab", "c"))
    store.finish(claimed(opened()), b"[]", 2, 0)
    for _ in range(2):
        assert claimed(store).payload == b"c"
        store.reap_expired_leases()
    assert store.claim() is None
    ended = stands(store, new.id)
    assert (ended.state, ended.done, ended.failed) == ("failed", 2, 1)
    assert "lost" in ended.error
    assert [dead.id for dead in store.dead_letters()] == [new.id]
    assert b"worker_lost" in (contents(store, new.id)[1] or b"")
    assert store.retry(new.id)
    assert claimed(store).payload == b"c"


def test_given_back_it_waits_and_only_failures_count(opened: Open) -> None:
    store = opened()
    kept(store, job("a"))
    assert store.requeue(claimed(store), 0.0, count_attempt=False)
    assert store.requeue(claim := claimed(store), 0.0, count_attempt=True)
    assert claim.attempt == 1
    assert (claim := claimed(store)).attempt == 2
    assert store.requeue(claim, 3600.0, count_attempt=True)
    assert store.claim() is None
    assert store.queue_depth().interactive == 0
    kept(store, job("b"))
    assert store.queue_depth().interactive == 1


def test_a_part_that_is_retried_is_free_of_the_lease_of_before(opened: Open) -> None:
    store = opened(lease_seconds=-1.0, max_lost_leases=1)
    new = kept(store, job("a"))
    claimed(store)
    store.cancel(new.id)
    store.retry(new.id)
    assert store.reap_expired_leases() == 0
    assert (stands(store, new.id).state, claimed(store).attempt) == ("queued", 1)


def test_deadlines_are_by_the_clock_of_redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    store = RedisStore(redis_url)
    monkeypatch.setattr("rerankd.jobs.redis_store.time.time", lambda: 1000.0)  # a worker whose clock is wrong
    kept(store, job("a", timeout=60.0))
    kept(store, job("a"))
    assert claimed(store).deadline == pytest.approx(1060.0, abs=5)
    assert claimed(store).deadline == 0.0
    store.close()


def test_what_is_too_late_is_never_claimed(opened: Open) -> None:
    store = opened()
    ids = [kept(store, job("a", timeout=1e-6, webhook="http://x")).id for _ in range(2)]
    assert store.claim() is None
    store.reap_expired_leases()
    assert [stands(store, name).state for name in ids] == ["expired"] * 2
    assert {delivery.job.id for delivery in store.due_deliveries()} == set(ids)


def test_unfinished_jobs_are_bounded_and_finished_ones_make_room(opened: Open) -> None:
    store = opened(max_jobs=2, max_bytes=10)
    kept(store, job("a" * 20))
    with pytest.raises(OverloadedError):
        store.create(job("b"))
    store.finish(claimed(store), b"", 20, 0)
    kept(store, job("a"))
    second = kept(store, job("b"))
    with pytest.raises(OverloadedError):
        store.create(job("c"))
    store.cancel(second.id)
    kept(store, job("c"))


def test_a_tenant_leaves_room_for_others(opened: Open) -> None:
    store = opened(max_jobs=4, tenant_share=0.5)
    first = kept(store, job("a", tenant="loud"))
    second = kept(store, job("a", tenant="loud"))
    for _ in range(2):
        with pytest.raises(OverloadedError, match="of this API key"):
            store.create(job("a", tenant="loud"))
    kept(store, job("a", tenant="quiet"))
    store.cancel(first.id)
    kept(store, job("a", tenant="loud"))
    store.cancel(second.id)
    assert store.retry(second.id).state == "queued"  # type: ignore[union-attr]
    with pytest.raises(OverloadedError, match="of this API key"):
        store.create(job("a", tenant="loud"))
    kept(opened(max_jobs=5, tenant_share=0.5), job("a", tenant="third"))
    with pytest.raises(OverloadedError, match="raise max_jobs and max_jobs_mb"):
        store.create(job("a", tenant="quiet"))


def test_nor_do_the_texts_of_a_tenant_take_all_room(opened: Open) -> None:
    store = opened(max_bytes=100, tenant_share=0.5)
    kept(store, job("a" * 40, tenant="loud"))
    with pytest.raises(OverloadedError, match="of this API key"):
        store.create(job("a" * 11, tenant="loud"))
    kept(store, job("a" * 10, tenant="loud"))
    kept(store, job("a" * 50, tenant="quiet"))


def test_without_tenants_all_room_is_for_all(opened: Open) -> None:
    store = opened(max_jobs=3, tenant_share=0.1)
    for _ in range(3):
        kept(store, job("a"))
    with pytest.raises(OverloadedError, match="raise max_jobs and max_jobs_mb"):
        store.create(job("a"))


def test_many_threads_never_take_the_same_part(opened: Open) -> None:
    store = opened()
    names = [kept(store, job(*"abcde", tenant=str(n % 3))).id for n in range(8)]

    def work(_: int) -> list[tuple[str, int]]:
        taken = []
        while claim := store.claim():
            assert store.finish(claim, b"[]", 1, 0)
            taken.append((claim.job, claim.part))
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = [one for parts in threads.map(work, range(4)) for one in parts]
    assert sorted(taken) == sorted((name, part) for name in names for part in range(5))
    assert {stands(store, name).state for name in names} == {"succeeded"}


STEPS = st.lists(
    st.sampled_from(["create", "claim", "finish", "fail", "lose", "back", "cancel", "retry", "late"]), max_size=40
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, data=st.data())
def test_whatever_happens_every_request_counts_once(opened: Open, steps: list[str], data: st.DataObject) -> None:
    store, losing = opened(max_jobs=10_000, max_lost_leases=100), opened(lease_seconds=-1.0, max_lost_leases=100)
    for left in store.jobs():  # by an example that failed
        store.cancel(left.id)
    names: list[str] = []
    hands: list[Claim] = []
    stale: list[Claim] = []
    for step in steps:
        if step == "create":
            names.append(kept(store, job("aa", "b")).id)
        elif step == "claim" and (claim := store.claim()):
            hands.append(claim)
        elif step == "lose" and (claim := losing.claim()):
            assert store.reap_expired_leases() == 1
            stale.append(claim)
        elif step == "late" and stale:
            assert store.finish(data.draw(st.sampled_from(stale)), b"?", 9, 9) is None
        elif step in ("cancel", "retry") and names:
            getattr(store, step)(data.draw(st.sampled_from(names)))
        elif hands and step in ("finish", "fail", "back"):
            claim = hands.pop(data.draw(st.integers(0, len(hands) - 1)))
            size = len(claim.payload)
            if step == "back":
                store.requeue(claim, 0.0, count_attempt=True)
            else:
                store.finish(claim, claim.payload, size if step == "finish" else 0, size if step == "fail" else 0)
    for claim in hands:
        store.finish(claim, claim.payload, len(claim.payload), 0)
    for _ in range(10_000):
        if not (last := store.claim()):
            break
        store.finish(last, last.payload, len(last.payload), 0)
    for name in names:
        record = stands(store, name)
        assert record.final
        if record.state != "cancelled":
            assert record.done + record.failed == record.total == 3
            assert contents(store, name) == [b"aa", b"b"]
        store.delete(name)
    assert not store.queue_depth().interactive
    alone = kept(opened(max_jobs=1), job("z"))  # all others were counted out
    store.cancel(alone.id)
    store.delete(alone.id)
