from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from rerankd.errors import CorruptModelError, InvalidRequestError
from rerankd.models.digest import content_of
from rerankd.registry.version import (
    APPROVED_TAG,
    RECORD_TAG,
    AliasMove,
    ModelVersion,
    validate_alias,
    validate_name,
)

FILES = {"model.onnx": "a" * 64, "tokenizer.json": "b" * 64}
VERSION = ModelVersion(
    "med", 3, content_of(FILES), FILES, {"model.onnx": 5, "tokenizer.json": 6}, "run", 1.5, {"precision": "fp32"}
)


def row(record: str, **tags: str) -> Any:
    return SimpleNamespace(
        name="med",
        version="3",
        run_id="run",
        creation_timestamp=1500,
        aliases=["champion"],
        tags={RECORD_TAG: record, **tags},
    )


def test_a_version_is_read_as_it_was_written() -> None:
    read = ModelVersion.from_row(row(VERSION.record(), **{APPROVED_TAG: "we know"}))
    assert (read.version, read.files, read.params, read.created) == (3, FILES, {"precision": "fp32"}, 1.5)
    assert (read.size, str(read), read.aliases) == (11, "med 3", ("champion",))
    assert read.approved == "we know"
    assert read.trusted
    assert not VERSION.trusted


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {}},
        {"files": {"../model.onnx": "a" * 64}},
        {"files": {"a/b": "a" * 64}},
        {"files": {"model.onnx": "a" * 63, "tokenizer.json": "b" * 64}},
        {"sizes": {"model.onnx": 5}},
        {"sizes": {"model.onnx": -5, "tokenizer.json": 6}},
        {"sizes": {"model.onnx": 10**12, "tokenizer.json": 6}},
        {"content": "c" * 64},
        {"verified": "yes"},
        {"gate": None},
    ],
)
def test_a_damaged_record_is_one_error(changes: dict[str, Any]) -> None:
    record = json.loads(VERSION.record()) | changes
    if "files" in changes:
        record["content"] = content_of(record["files"])
        record["sizes"] = dict.fromkeys(record["files"], 1)
    with pytest.raises(CorruptModelError, match=r"med 3 is damaged"):
        ModelVersion.from_row(row(json.dumps(record)))


@pytest.mark.parametrize("record", ["", "[]", "{}", "null", "{"])
def test_no_record_is_one_error(record: str) -> None:
    with pytest.raises(CorruptModelError):
        ModelVersion.from_row(row(record))


def test_a_version_of_somebody_else_is_said_to_be() -> None:
    alien = row("")
    alien.tags = {}
    with pytest.raises(CorruptModelError, match="not registered by rerankd"):
        ModelVersion.from_row(alien)


def test_a_record_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="fewer metrics"):
        ModelVersion("m", 1, "", {}, {}, "", 0.0, tags={"x": "y" * 100_000}).record()


def test_names_and_aliases() -> None:
    assert validate_name("med-v2.1") == "med-v2.1"
    assert validate_alias("challenger") == "challenger"
    for name in ("", "a/b", "a b", "../a", "a" * 101, "a'b", "registry:a"):
        with pytest.raises(InvalidRequestError):
            validate_name(name)
    for alias in ("", "7", "v7", "latest", "LATEST", "a@b", "champion", "previous"):
        with pytest.raises(InvalidRequestError):
            validate_alias(alias)


def test_a_move_is_read_as_it_was_written() -> None:
    move = AliasMove("promote", "med", None, 2, "me", 1.0, "better", "passed", done=True)
    assert AliasMove.from_record(move.record()) == move
