from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.retrieval import milvus
from rerankd.retrieval.milvus import MilvusIndex
from rerankd.retrieval.retriever import IndexedPassage


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TimeoutError(), "TimeoutError"), (OSError(""), "OSError"), (OSError("refused\nby the peer"), "refused")],
)
def test_an_unreachable_server_is_unavailable(error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(**options: Any) -> None:
        raise error

    driver = SimpleNamespace(MilvusException=type("MilvusException", (Exception,), {}), MilvusClient=connect)
    monkeypatch.setattr(milvus, "require", lambda *names: driver)
    with pytest.raises(UnavailableError, match=rf"Milvus at http://milvus cannot be used \({reason}\)\."):
        MilvusIndex("http://milvus")


def test_an_empty_query_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SimpleNamespace(
        has_collection=lambda name: True, load_collection=lambda name: None, get=lambda *names, **options: []
    )
    driver = SimpleNamespace(MilvusException=OSError, MilvusClient=lambda **options: client)
    monkeypatch.setattr(milvus, "require", lambda *names: driver)
    index = MilvusIndex("http://milvus")
    for query in ("", " \n"):
        with pytest.raises(InvalidRequestError, match="The query is empty"):
            index.search(query)


def test_what_milvus_cannot_hold_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stored: list[dict[str, Any]] = []
    client = SimpleNamespace(
        has_collection=lambda name: True,
        load_collection=lambda name: None,
        get=lambda *names, **options: [],
        upsert=lambda name, rows: stored.extend(rows),
    )
    driver = SimpleNamespace(MilvusException=OSError, MilvusClient=lambda **options: client)
    monkeypatch.setattr(milvus, "require", lambda *names: driver)
    index = MilvusIndex("http://milvus")
    metadata = {"title": "K7", "table": "字" * 30_000}
    with caplog.at_level(logging.WARNING, logger="rerankd"):
        index.add([IndexedPassage("a", "fits.txt", 0, "d", "short", {"title": "K7"})])
        assert not caplog.records
        index.add([IndexedPassage("b", "long.txt", 0, "d", "字" * 30_000, metadata)])
    assert [orjson.loads(row["metadata"]) for row in stored] == [{"title": "K7"}, {"title": "K7"}]
    assert "A passage of long.txt is cut: Milvus holds 65535 bytes of its 90000." in caplog.text
    assert "Metadata of long.txt too long for Milvus are left out: table." in caplog.text
