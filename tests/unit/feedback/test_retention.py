from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from rerankd._common.backoff import Backoff
from rerankd.database import tables
from rerankd.errors import UnavailableError
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.retention import (
    DAY,
    DeletionCounts,
    RetentionPolicy,
    erase_document,
    erase_tenant,
    erase_text,
    prune,
    scrub,
)
from rerankd.feedback.store import add_feedback, read_feedback
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.unit.traces.rankings import ranking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield made
    made.close()


def write(store: TraceStore, tenant: str, *documents: str | Document, query: str = "q", **named: object) -> None:
    store.write([build_trace(ranking(query, documents, tenant=tenant, **named))])  # type: ignore[arg-type]


def bytes_of(store: TraceStore) -> bytes:
    folder = Path(str(store.engine.url.database)).parent
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.slow
def test_no_byte_of_an_erased_tenant_is_left(store: TraceStore) -> None:
    shared, long = "SHARED passage", "".join(f"LONG{number} " for number in range(4000))
    for number in range(300):  # so that pages fill, split and overflow
        write(store, "mine", f"MYTEXT{number}", shared, query=f"MYQUERY{number}", request_id=f"MYREQUEST{number}")
        write(store, "yours", f"YOURTEXT{number}", shared, query=f"YOURQUERY{number}")
    write(store, "mine", Document(long, "MYDOCUMENT"))
    add_feedback(store, [FeedbackEvent("MYREQUEST1", "click", document_id="MYDOCUMENT", tenant="mine")])
    assert b"MYTEXT7" in bytes_of(store)
    erased = erase_tenant(store, "mine")
    assert (erased.traces, erased.texts, erased.feedback) == (301, 602, 1)
    left = bytes_of(store)
    for word in (b"MYTEXT", b"MYQUERY", b"MYREQUEST", b"MYDOCUMENT"):
        assert word not in left
    assert b"YOURTEXT7" in left
    kept = store.load(store.list_traces(TraceFilter(tenant="yours"), limit=1000))
    assert len(kept) == 300
    assert all(trace.texts[1] == shared and trace.query for trace in kept)
    assert store.list_traces(TraceFilter(tenant="mine")) == []


def test_compressed_texts_go_too(store: TraceStore) -> None:
    text = "".join(chr(97 + (number * number) % 23) for number in range(2000))
    write(store, "mine", text)
    with store.connect() as connection:
        query = select(tables.passage.c.data).where(tables.passage.c.deflated)
        (data,) = connection.scalars(query)
    assert bytes(data)[4:-4] in bytes_of(store)
    erase_tenant(store, "mine")
    assert bytes(data)[4:-4] not in bytes_of(store)


def test_a_document_is_erased_and_its_traces_stay(store: TraceStore) -> None:
    write(store, "mine", Document("SECRET version 1", "d1"), Document("other", "d2"))
    write(store, "mine", Document("SECRET version 2", "d1"))
    write(store, "yours", Document("SECRET version 2", "e1"))
    assert erase_document(store, "d1", tenant="mine") == DeletionCounts(texts=1)
    assert b"version 1" not in bytes_of(store)
    assert b"version 2" in bytes_of(store)
    assert erase_document(store, "d1") == DeletionCounts(texts=1)
    assert b"SECRET" not in bytes_of(store)
    newest = store.load(store.list_traces())
    assert [trace.texts for trace in newest] == [(None,), (None,), (None, "other")]
    write(store, "mine", Document("SECRET version 1", "d1"))  # the writer trusts no number of before
    assert store.load(store.list_traces(limit=1))[0].texts == ("SECRET version 1",)


def test_a_text_is_erased_by_its_hash(store: TraceStore) -> None:
    write(store, "mine", "SECRET", "other")
    assert erase_text(store, text_hash("SECRET")) == DeletionCounts(texts=1)
    assert erase_text(store, text_hash("SECRET")) == DeletionCounts()
    assert b"SECRET" not in bytes_of(store)


def test_what_is_old_is_pruned(store: TraceStore) -> None:
    now = time.time()
    for age in (40, 20, 0):
        write(store, "mine", f"text of {age}", at=now - age * DAY, request_id=f"r{age}")
    with store.begin() as connection:  # as if it had been written then
        texts = {f"text of {age}": now - age * DAY for age in (40, 20, 0)}
        for row in connection.execute(select(tables.passage.c.id, tables.passage.c.data)).all():
            seen = texts.get(bytes(row.data).decode(), now)
            connection.execute(tables.passage.update().where(tables.passage.c.id == row.id).values(seen=seen))
    old = FeedbackEvent("r40", "click", 0, tenant="mine", time=now - 39 * DAY)
    pending = FeedbackEvent("never", "click", 0, tenant="mine", time=now - 2 * DAY)
    fresh = FeedbackEvent("soon", "click", 0, tenant="mine")
    known = FeedbackEvent("r20", "click", 0, tenant="mine", time=now - 19 * DAY)
    add_feedback(store, [old, pending, fresh, known])
    erased, more = prune(store, RetentionPolicy(30 * DAY))
    assert (erased, more) == (DeletionCounts(1, 1, 2), False)
    assert [trace.request_id for trace in store.list_traces()] == ["r0", "r20"]
    assert {one.feedback.request_id for one in read_feedback(store)} == {"soon", "r20"}
    assert prune(store, RetentionPolicy(0))[0] == DeletionCounts()


def test_what_is_too_much_is_pruned(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankd.feedback.retention.BATCH_SIZE", 50)
    empty = store.size()
    for number in range(10):
        texts = [[f"{number} {position} " + "汉字" * 50] for position in range(50)]
        long_ago = time.time() - 10 * DAY + number
        store.write([build_trace(ranking(documents=documents, at=long_ago, tenant="mine")) for documents in texts])
    with store.begin() as connection:
        connection.execute(tables.passage.update().values(seen=time.time() - 20 * DAY))
    limit, more = (store.size() + empty) // 2, True
    while more:
        _, more = prune(store, RetentionPolicy(0, limit))
    assert store.size() <= limit
    with store.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.trace)) in range(1, 450)


def test_feedback_waits_no_longer_than_it_is_told(store: TraceStore) -> None:
    add_feedback(store, [FeedbackEvent("never", "click", 0, time=time.time() - 100)])
    assert prune(store, RetentionPolicy(pending_seconds=1000))[0].feedback == 0
    assert prune(store, RetentionPolicy(pending_seconds=10))[0].feedback == 1


def test_metadata_of_what_is_erased_goes_with_it(store: TraceStore) -> None:
    document = Document("OWNTEXT", "doc-1", {"title": "OWNTITLE"})
    other = Document("OTHERTEXT", "doc-2", {"title": "OTHERTITLE"})
    write(store, "mine", document, other)
    write(store, "mine", Document("HASHTEXT", "doc-3", {"note": "HASHNOTE"}), other)
    erase_document(store, "doc-1")
    erase_text(store, text_hash("HASHTEXT"))
    left = bytes_of(store)
    for erased in (b"OWNTEXT", b"OWNTITLE", b"HASHTEXT", b"HASHNOTE"):
        assert erased not in left
    assert b"OTHERTITLE" in left
    kept = [dict(one) for trace in store.iter_traces(TraceFilter()) for one in trace.candidates.metadata]
    assert kept == [{}, {"title": "OTHERTITLE"}, {}, {"title": "OTHERTITLE"}]


def test_metadata_is_redacted_like_texts(store: TraceStore) -> None:
    made = ranking("q", [Document("a", "1", {"mail": ["someone@example.com"], "n": 3})])
    store.write([build_trace(made, lambda text: text.replace("someone@example.com", "[email]"))])
    assert b"someone@" not in bytes_of(store)
    [trace] = store.iter_traces(TraceFilter())
    assert [dict(one) for one in trace.candidates.metadata] == [{"mail": ["[email]"], "n": 3}]


def test_a_reader_delays_the_erasure_of_the_log(store: TraceStore) -> None:
    """SQLite's log is truncated once the reader is gone; a reader that stays makes it an error. No test waits."""
    write(store, "mine", "SECRET")
    reader = sqlite3.connect(str(store.engine.url.database))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM trace").fetchall()
    write(store, "mine", "after the snapshot of the reader")
    pauses: list[float] = []
    with store.engine.connect().execution_options(bare=True) as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    with pytest.raises(UnavailableError, match="write-ahead log"):
        scrub(store, backoff=Backoff(attempts=3, first=1.0, jitter=0), sleep=pauses.append)
    assert pauses == [1.0, 2.0]
    scrub(store, backoff=Backoff(attempts=3), sleep=lambda _: reader.close())
    assert b"SECRET" in bytes_of(store)  # it is still a row
