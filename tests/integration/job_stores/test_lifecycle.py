"""Contract of both job stores: jobs from their creation to their end, lists and announcements."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from rerankd.errors import ConflictError
from rerankd.jobs.redis_store import RedisStore
from tests.integration.job_stores.jobs import Open, claimed, contents, job, kept, stands


def test_a_job_from_begin_to_end(opened: Open) -> None:
    store = opened()
    new = job("ab", "c", tenant="team", webhook="")
    first = kept(store, new)
    assert (first.state, first.total, first.parts, first.done, first.tenant) == ("queued", 3, 2, 0, "team")
    one, two = claimed(store), claimed(store)
    assert [(one.part, one.payload), (two.part, two.payload)] == [(0, b"ab"), (1, b"c")]
    assert stands(store, new.id).state == "running"
    assert store.claim() is None
    assert store.finish(two, b"[2]", 1, 0)
    assert contents(store, new.id) == [None, b"[2]"]
    last = store.finish(one, b"[1]", 2, 0)
    assert last
    assert (last.state, last.done, last.finished >= last.started >= last.created > 0) == ("succeeded", 3, True)
    assert contents(store, new.id) == [b"[1]", b"[2]"]
    assert stands(store, new.id) == last


def test_a_part_that_failed_fails_the_job_and_can_be_tried_again(opened: Open) -> None:
    store = opened()
    new = kept(store, job("ab", "c"))
    store.finish(claimed(store), b"[1]", 1, 1, "The model broke.")
    ended = store.finish(claimed(store), b"[2]", 1, 0)
    assert ended
    assert (ended.state, ended.done, ended.failed, ended.error) == ("failed", 2, 1, "The model broke.")
    assert [dead.id for dead in store.dead_letters()] == [new.id]
    again = store.retry(new.id)
    assert again
    assert (again.state, again.done, again.failed, again.error) == ("queued", 1, 0, "")
    assert store.dead_letters() == []
    claim = claimed(store)
    assert (claim.part, claim.payload, claim.attempt) == (0, b"ab", 1)
    done = store.finish(claim, b"[3]", 2, 0)
    assert done
    assert (done.state, done.done, contents(store, new.id)) == ("succeeded", 3, [b"[3]", b"[2]"])
    assert store.claim() is None


def test_cancelled_jobs_are_not_worked(opened: Open) -> None:
    store = opened()
    new = kept(store, job("a", "b"))
    claim = claimed(store)
    ended = store.cancel(new.id)
    assert ended
    assert ended.state == "cancelled"
    assert store.renew([claim]) == [False]
    assert store.finish(claim, b"[]", 1, 0) is None
    assert store.claim() is None
    assert store.cancel(new.id) == ended
    assert store.cancel("unknown") is None
    assert store.retry(new.id)
    assert [claimed(store).payload, claimed(store).payload] == [b"a", b"b"]


def test_an_end_that_is_taken_back_is_not_announced(opened: Open) -> None:
    store = opened()
    new = kept(store, job("a", webhook="http://x"))
    store.cancel(new.id)
    assert store.due_deliveries()
    store.retry(new.id)
    store.record_delivery(new.id, delivered=False, retry_after=0.0)
    assert store.due_deliveries() == []
    assert stands(store, new.id).webhook_state == "pending"
    store.cancel(new.id)
    assert [delivery.attempts for delivery in store.due_deliveries()] == [0]


def test_an_idempotency_key_means_one_job(opened: Open) -> None:
    store = opened()
    new = kept(store, job("a", tenant="x", idempotency="k", fingerprint="1"))
    assert store.create(job("a", tenant="x", idempotency="k", fingerprint="1")) == (new, False)
    with pytest.raises(ConflictError):
        store.create(job("b", tenant="x", idempotency="k", fingerprint="2"))
    kept(store, job("a", tenant="y", idempotency="k", fingerprint="2"))


def test_lists(opened: Open) -> None:
    store = opened()
    ids = [kept(store, job(tenant=tenant)).id for tenant in ("x", "y", "x")]
    store.cancel(ids[0])
    assert [record.id for record in store.jobs()] == ids[::-1]
    assert [record.id for record in store.jobs(tenant="x")] == [ids[2], ids[0]]
    assert [record.id for record in store.jobs(states=["queued"], limit=1)] == [ids[2]]
    assert not store.delete(ids[1])
    assert store.delete(ids[0])
    assert store.get(ids[0]) is None
    assert [record.id for record in store.jobs()] == [ids[2], ids[1]]


def test_announcements_are_due_once_and_again(opened: Open) -> None:
    store = opened()
    new = kept(store, job("a", webhook="http://x"))
    assert new.webhook_state == "pending"
    assert store.due_deliveries() == []
    store.finish(claimed(store), b"[]", 1, 0)
    (delivery,) = store.due_deliveries()
    assert (delivery.job.id, delivery.job.state, delivery.attempts) == (new.id, "succeeded", 0)
    assert store.due_deliveries() == []
    store.record_delivery(new.id, delivered=False, retry_after=0.0)
    (delivery,) = store.due_deliveries()
    assert delivery.attempts == 1
    store.record_delivery(new.id, delivered=True, retry_after=None)
    assert (store.due_deliveries(), stands(store, new.id).webhook_state) == ([], "delivered")


def test_those_who_watch_hear_of_every_end(opened: Open) -> None:
    store = opened()
    heard: list[str] = []
    both = threading.Event()

    def hear(name: str) -> None:
        heard.append(name)
        if len(heard) >= 2:
            both.set()

    stop = store.subscribe(hear)
    ended: list[str] = []
    while not both.is_set() and len(ended) < 1000:  # a listener may be late to the first
        ended.append(kept(store, job()).id)
        store.cancel(ended[-1])
        both.wait(0.01)
    stop()
    assert set(heard) <= set(ended)
    assert len(heard) >= 2


def test_finished_jobs_are_forgotten(opened: Open) -> None:
    store = opened(retention_seconds=-1.0)
    new = kept(store, job())
    store.cancel(new.id)
    if isinstance(store, RedisStore):
        assert stands(store, new.id)  # Redis does it: the time to live is what can be seen
        assert 0 < store._client.ttl(f"{{rerankd}}:job:{new.id}") <= 1
    else:
        store.reap_expired_leases()
        assert store.get(new.id) is None


def test_a_failed_job_says_why_and_the_first_reason_stays(opened: Open) -> None:
    store = opened()
    new = kept(store, job("a", "b", "c"))
    store.finish(claimed(store), b"[]", 0, 1, reason="A request failed: too long.", computed=7)
    store.finish(claimed(store), b"[]", 0, 1, reason="A request failed: other.", computed=5)
    ended = store.finish(claimed(store), b"[]", 1, 0, computed=30)
    assert ended
    assert (ended.state, ended.error, ended.computed) == ("failed", "A request failed: too long.", 42)
    assert store.dead_letters() == []
    assert store.totals() == {"failed": 1}
    assert stands(store, new.id) == ended


def test_a_dead_letter_says_why_and_is_counted(opened: Open) -> None:
    store = opened()
    kept(store, job("a"))
    ended = store.finish(claimed(store), b"[]", 0, 1, error="The model broke.", reason="A request failed: x")
    assert ended
    assert [dead.error for dead in store.dead_letters()] == ["The model broke."]
    assert store.totals() == {"failed": 1, "dead": 1}
    assert store.retry(ended.id)
    assert stands(store, ended.id).error == ""


def test_requests_that_were_begun_and_not_finished_are_known(opened: Open) -> None:
    store = opened()
    new = kept(store, job("ab", "c", "d"))
    assert store.interrupted_requests(new.id) == 0
    claimed(store)
    assert store.interrupted_requests(new.id) == 2
    store.finish(claimed(store), b"[]", 1, 0)
    store.cancel(new.id)
    assert store.interrupted_requests(new.id) == 2
    assert store.interrupted_requests("job_none") == 0
    store.retry(new.id)
    assert store.interrupted_requests(new.id) == 0
    assert store.totals() == {"cancelled": 1}


def test_a_webhook_that_fails_says_why(opened: Open) -> None:
    store = opened()
    new = kept(store, replace(job("a"), webhook="https://example.org", charged=12))
    assert stands(store, new.id).charged == 12
    store.finish(claimed(store), b"[]", 1, 0)
    store.record_delivery(new.id, delivered=False, retry_after=60.0, error="the receiver answered 500")
    assert (stands(store, new.id).webhook_state, stands(store, new.id).webhook_error) == (
        "pending",
        "the receiver answered 500",
    )
    store.record_delivery(new.id, delivered=False, retry_after=None, error="the receiver answered 404")
    assert stands(store, new.id).webhook_error == "the receiver answered 404"
    store.record_delivery(new.id, delivered=True, retry_after=None)
    assert (stands(store, new.id).webhook_state, stands(store, new.id).webhook_error) == ("delivered", "")
    totals = store.totals()
    assert [totals[f"webhook_{name}"] for name in ("failed", "lost", "delivered")] == [1, 1, 1]
