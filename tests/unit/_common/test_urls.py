from __future__ import annotations

import pytest

from rerankd._common.urls import masked_urls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@llm.example.org/v1", "https://user:***@llm.example.org/v1"),
        ("https://secret@llm.example.org/v1", "https://***@llm.example.org/v1"),
        ("redis://:secret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("redis://:sec@ret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("redis://:sec/ret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("redis://:a@sec/ret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("postgresql://u:sec%40ret@h/db?sslpassword=secret", "postgresql://u:***@h/db?sslpassword=***"),
        ("http://h:80/x?api_key=secret&n=2#part", "http://h:80/x?api_key=***&n=2#part"),
        ("http://h/x?access_token=secret&sig=secret", "http://h/x?access_token=***&sig=***"),
        ("one http://u:secret@a, two https://b/?key=secret.", "one http://u:***@a, two https://b/?key=***"),
        ("http://[::1]:19530", "http://[::1]:19530"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("registry:NAME@PROD", "registry:NAME@PROD"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_secrets_of_urls_are_hidden_and_the_rest_stays(text: str, shown: str) -> None:
    assert masked_urls(text) == shown
