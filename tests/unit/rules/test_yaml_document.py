from __future__ import annotations

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.rules.yaml_document import Location, YamlDocument


def test_lines_are_those_of_keys_and_items() -> None:
    document = YamlDocument(b"a:\n  - 1\n  - b:\n      [x,\n       y]\n", "f")
    assert document.value == {"a": [1, {"b": ["x", "y"]}]}
    locations: list[Location] = [[], ["a"], ["a", 1], ["a", 1, "b"], ["a", 1, "b", 1]]
    assert [document.line(location) for location in locations] == [1, 1, 3, 3, 5]


def test_a_path_is_followed_as_far_as_it_exists() -> None:
    document = YamlDocument(b"a:\n  b: 1\n", "f")
    locations: list[Location] = [["c"], ["a", "c"], ["a", "b", 0], ["a", 3]]
    assert [document.line(location) for location in locations] == [1, 1, 2, 1]


def test_an_empty_document() -> None:
    document = YamlDocument(b"# nothing\n", "f")
    assert (document.value, document.line(["a"])) == (None, 1)


def test_aliases_share_one_value() -> None:
    value = YamlDocument(b"a: &x [1]\nb: *x\n", "f").value
    assert value["a"] is value["b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: 1\na: 2", "line 2: 'a' is given twice"), (b"\xff", "line 1: not UTF-8"), (b"a: [", "not valid YAML")],
)
def test_faults(content: bytes, message: str) -> None:
    with pytest.raises(InvalidInputFileError, match=message):
        YamlDocument(content, "f")
