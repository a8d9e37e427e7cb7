from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rerankd._common.instruction import IGNORED
from rerankd.pipeline.unhonoured import unhonoured, unknown_model_warnings
from rerankd.scoring.encoder import TruncationOptions
from rerankd.settings import load_settings
from rerankd.types import TruncationOverrides
from rerankd.wiring.engine import SettingsLoader, open_pool


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        ({}, []),
        ({"chunk_overlap": 8}, ["overlap_tokens"]),
        ({"chunk_overlap": 8, "long_documents": "chunk"}, []),
        ({"max_chunks": 4, "long_documents": "truncate"}, ["max_chunks_per_doc"]),
        ({"max_chunks": 1}, []),
        ({"truncation": "longest_first"}, []),
        ({"truncation": "longest_first", "long_documents": "chunk"}, ["truncation"]),
        ({"truncation": "only_second", "long_documents": "chunk"}, []),
        ({"instruction": "Rank.", "chunk_overlap": 8}, ["instruction", "overlap_tokens"]),
    ],
)
def test_options_that_have_no_effect(overrides: dict[str, Any], fields: list[str]) -> None:
    changes = {name: value for name, value in overrides.items() if name != "instruction"}
    options = dataclasses.replace(TruncationOptions(512), **changes)
    warnings = unhonoured(TruncationOverrides(**overrides), options, takes_instruction=False)
    assert [warning.partition(" ")[0] for warning in warnings] == fields
    assert all(warning.endswith(" and was ignored") for warning in warnings)
    assert (IGNORED in warnings) == ("instruction" in overrides)
    assert IGNORED not in unhonoured(TruncationOverrides(**overrides), options, takes_instruction=True)


def test_a_model_is_known_by_its_name_and_by_its_reference() -> None:
    settings = load_settings(model="legal", models={"legal": "BAAI/bge-reranker-base"})
    pool = open_pool(settings, SettingsLoader(settings))  # loads nothing
    for name in (None, "", "legal", "BAAI/bge-reranker-base"):
        assert unknown_model_warnings(pool, name) == []
    assert unknown_model_warnings(pool, "x" * 200) == [f"model {'x' * 100!r} is unknown; 'legal' was used"]
