from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from rerankd.errors import UnavailableError
from rerankd.retrieval.external import ExternalMapping, ExternalRetriever


def answering(*hits: dict[str, Any]) -> ExternalRetriever:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"hits": {"hits": list(hits)}}))
    return ExternalRetriever(ExternalMapping("http://search/_search", text="_source.body"), transport)


@pytest.mark.parametrize("source", [{}, {"body": ""}, {"body": " \n"}, {"body": 3}, {"body": None}, {"text": "a"}])
def test_hits_without_a_text_are_counted(source: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="rerankd"):
        found = answering({"_source": {"body": "a"}}, {"_source": source}).search("q")
    assert [document.text for document in found] == ["a"]
    assert "1 of 2 hits have no text at '_source.body'." in caplog.text


def test_a_path_that_no_hit_has_is_an_error() -> None:
    with pytest.raises(UnavailableError, match="none of its 2 hits has a text at '_source.body'"):
        answering({"_source": {"text": "a"}}, {"_source": {"text": "b"}}).search("q")


def test_no_hits_are_no_error(caplog: pytest.LogCaptureFixture) -> None:
    assert answering().search("q") == []
    assert not caplog.records
