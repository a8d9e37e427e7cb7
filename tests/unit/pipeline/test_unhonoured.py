from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rerankd._common.instruction import IGNORED
from rerankd.pipeline.unhonoured import unhonoured
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import TruncationOverrides


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
