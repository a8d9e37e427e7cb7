from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.retrieval import milvus
from rerankd.retrieval.milvus import MilvusIndex


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
