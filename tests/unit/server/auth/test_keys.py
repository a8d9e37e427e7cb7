from __future__ import annotations

import base64
import dataclasses
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.feedback.labels import validate_labeller
from rerankd.server.auth.keys import new_key, presented_key

DIGEST = "ab" * 32


def test_new_key_is_random_and_keeps_only_its_hash() -> None:
    clear, key = new_key("team", admin=True, tokens_per_day=7)
    other, _ = new_key("team")
    assert clear != other
    assert clear.startswith("rk-")
    assert len(clear) == 46
    assert key.digest == hashlib.sha256(clear.encode()).hexdigest()
    assert (key.name, key.admin, key.tokens_per_day, key.requests_per_day) == ("team", True, 7, None)
    assert clear not in repr(dataclasses.asdict(key))
    assert key.digest not in repr(key)


def test_the_owner_is_a_name_that_can_label() -> None:
    _, key = new_key(" search team ")
    assert key.owner == f"search team ({key.id})"
    _, long = new_key("x" * 1000)
    assert validate_labeller(long.owner) == long.owner


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9"])
def test_limits_are_positive_whole_numbers(limit: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tokens_per_minute of key .* must be an integer of at least 1"):
        new_key("team", tokens_per_minute=limit)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", 7])
def test_names_can_be_printed(name: Any) -> None:
    with pytest.raises(InvalidRequestError, match="printable text"):
        new_key(name)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer rk-1"}, "rk-1"),
        ({"authorization": "bEARER   rk-1 "}, "rk-1"),
        ({"authorization": "rk-1"}, "rk-1"),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "Bearer "}, None),
        ({"authorization": ""}, None),
        ({"authorization": basic("user:rk-1")}, "rk-1"),
        ({"authorization": basic("user:rk:1")}, "rk:1"),
        ({"authorization": basic("rk-1:")}, "rk-1"),
        ({"authorization": basic("rk-1")}, "rk-1"),
        ({"authorization": basic(":")}, None),
        ({"authorization": "Basic"}, None),
        ({"authorization": "Basic !!!"}, None),
        ({"authorization": "Basic é"}, None),
        ({"authorization": "Basic /w=="}, None),
        ({"x-api-key": " rk-1 "}, "rk-1"),
        ({"api-key": "rk-1"}, "rk-1"),
        ({"x-api-key": "  "}, None),
        ({"api-key": "c", "x-api-key": "b", "authorization": "Bearer a"}, "a"),
        ({"api-key": "c", "x-api-key": "b", "authorization": "Bearer"}, "b"),
        ({"api-key": "c", "x-api-key": ""}, "c"),
        ({"x-api-key": "k" * 4096}, "k" * 4096),
        ({"x-api-key": "k" * 4097}, None),
        ({"authorization": "Bearer " + "k" * 4096}, None),
        ({"X-API-Key": "names are lower case"}, None),
    ],
)
def test_presented_key(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(headers) == key


@given(st.sampled_from(["", "Bearer ", "Basic "]), st.text())
def test_presented_key_never_raises(scheme: str, text: str) -> None:
    key = presented_key({"authorization": scheme + text})
    assert key is None or key


@pytest.mark.parametrize("priority", [-1, 1000, True, 1.5, "9", None])
def test_the_best_priority_is_a_priority(priority: Any) -> None:
    assert new_key("team", best_priority=999)[1].best_priority == 999
    with pytest.raises(InvalidRequestError, match="best_priority of key .* must be an integer from 0 to 999"):
        new_key("team", best_priority=priority)
