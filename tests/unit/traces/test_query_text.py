"""Queries as they are searched, and that they go when the text goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from rerankd.database import tables
from rerankd.feedback.retention import RetentionPolicy, erase_tenant, erase_text, prune
from rerankd.traces.hashing import text_hash
from rerankd.traces.query_text import MAX_CHARACTERS, fold
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.traces.rankings import ranking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


def searched(store: TraceStore) -> list[str]:
    with store.connect() as connection:
        return list(connection.scalars(select(tables.query_text.c.text).order_by(tables.query_text.c.text)))


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("What EATS\nＢａｍｂｏｏ？", "what eats bamboo?"),
        ("Straße", "strasse"),
        ("a\0b \ud800", "a b ?"),
        ("x" * 5000, "x" * MAX_CHARACTERS),
        ("\u202egnp.exe", "\u202egnp.exe"),
        ("", ""),
    ],
)
def test_folding(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_a_query_is_kept_once_and_hostile_ones_can_be_stored(store: TraceStore) -> None:
    hostile = "\0<script>\ud800\u202e" + "x" * 1_000_000
    store.write([build_trace(ranking("Same")), build_trace(ranking("Same")), build_trace(ranking(hostile))])
    store.write([build_trace(ranking("Same", request_id="again"))])
    assert [text[:12] for text in searched(store)] == ["<script>?\u202exx", "same"]
    assert len(store.list_traces(TraceFilter(search="<SCRIPT>"))) == 1


def test_a_document_that_becomes_a_query_is_found(store: TraceStore) -> None:
    store.write([build_trace(ranking("first", ["Second"]))])
    store.write([build_trace(ranking("Second", ["other"]))])
    assert searched(store) == ["first", "second"]


def test_erased_queries_are_searched_no_more(store: TraceStore, tmp_path: Path) -> None:
    store.write([build_trace(ranking("Secret one")), build_trace(ranking("Secret two", tenant="b", request_id="r2"))])
    erase_text(store, text_hash("Secret one"))
    assert searched(store) == ["secret two"]
    erase_tenant(store, "b")
    assert searched(store) == []
    store.close()
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_old_queries_go_with_their_traces(store: TraceStore) -> None:
    now = 2_000_000_000.0
    store.write([build_trace(ranking("Old", at=now - 90_000))])
    prune(store, RetentionPolicy(seconds=3600), now=now)
    assert searched(store) == []
