from __future__ import annotations

import dataclasses
import json

import pytest

from rerankd.models.families.prompts import MXBAI_RERANK, QWEN3_RERANKER, WEB_SEARCH
from rerankd.models.template import PairTemplate, as_pair_template, read_template


@pytest.mark.parametrize("template", [PairTemplate((0,), (2, 2), (2,)), MXBAI_RERANK, QWEN3_RERANKER])
def test_a_manifest_stores_every_template(template: PairTemplate) -> None:
    assert read_template(json.loads(json.dumps(dataclasses.asdict(template)))) == template


@pytest.mark.parametrize(
    "content",
    [
        {"start": [0], "middle": [2]},
        {"before": ["a"], "between": ["b"]},
        {"before": ["a"], "between": ["b"], "after": "c"},
        {"before": ["a"], "between": ["b"], "after": [1]},
        {"before": ["a"], "between": ["b"], "after": ["c"], "code": "d"},
    ],
)
def test_templates_that_are_none(content: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        read_template(content)


def test_the_default_instruction() -> None:
    assert QWEN3_RERANKER.texts(None) == QWEN3_RERANKER.texts(WEB_SEARCH)
    assert "instruction" not in MXBAI_RERANK.texts(None)[0]
    assert MXBAI_RERANK.texts("Find it.")[0].endswith("instruction: Find it.\nquery: ")


def test_a_prompt_has_no_special_tokens() -> None:
    with pytest.raises(TypeError):
        as_pair_template(QWEN3_RERANKER)
