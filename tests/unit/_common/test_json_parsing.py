from __future__ import annotations

import pytest

from rerankd._common.json_parsing import parse_json


def test_json_is_parsed_from_text_and_bytes() -> None:
    assert parse_json('{"a": [1]}') == parse_json(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe\x00", "[" * 200_000, '{"a":' * 200_000])
def test_whatever_is_wrong_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="."):
        parse_json(text)
