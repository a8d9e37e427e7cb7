"""Bodies of requests in every form, and a value of every field that clients send."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rerankd.server.schemas.field_support import RequestForm
from tests.instructions import ASKED

QUERY = "What is the capital of France, and since when?"
DOCUMENTS = [
    "Pears are a fruit that ripens in autumn, in gardens and on farms, and keeps in cool cellars until the spring.",
    "Bread is baked from flour, water and salt, and rises with yeast or with a dough that was kept from before.",
    "For centuries kings and governments resided there: Paris is the capital and the largest city of France.",
]
OBJECTS = [{"text": text, "title": f"Title {number}"} for number, text in enumerate(DOCUMENTS)]
BODIES: dict[RequestForm, dict[str, Any]] = {
    "union": {"query": QUERY, "documents": DOCUMENTS},
    "infinity": {"query": QUERY, "documents": DOCUMENTS},
    "voyage": {"query": QUERY, "documents": DOCUMENTS},
    "tei": {"query": QUERY, "texts": DOCUMENTS},
    "score": {"text_1": QUERY, "text_2": DOCUMENTS},
    "predict": {"inputs": [[QUERY, text] for text in DOCUMENTS]},
}
PATHS: dict[RequestForm, str] = {
    "union": "/v1/rerank",
    "infinity": "/infinity/rerank",
    "voyage": "/voyage/v1/rerank",
    "tei": "/rerank",
    "score": "/v1/score",
    "predict": "/predict",
}


@dataclass(frozen=True)
class Sample:
    """A value of a field.

    Attributes:
        value: the value.
        beside: other fields, without which the value says nothing.
        instead_of: fields whose place it takes.
        is_visible: whether the answer shows that it was honoured.
    """

    value: Any
    beside: dict[str, Any] = field(default_factory=dict)
    instead_of: tuple[str, ...] = ()
    is_visible: bool = True


_SHORT = {"max_length": 24}
SAMPLES = {
    "model": Sample("mini", is_visible=False),
    "query": Sample("How is bread baked?"),
    "documents": Sample(DOCUMENTS[:2], instead_of=("text_2",)),
    "texts": Sample(DOCUMENTS[:2]),
    "text_1": Sample("How is bread baked?"),
    "queries": Sample("How is bread baked?", instead_of=("text_1",)),
    "data_1": Sample("How is bread baked?", instead_of=("text_1",)),
    "text_2": Sample(DOCUMENTS[:2]),
    "items": Sample(DOCUMENTS[:2], instead_of=("text_2",)),
    "data_2": Sample(DOCUMENTS[:2], instead_of=("text_2",)),
    "inputs": Sample([[QUERY, DOCUMENTS[0]]]),
    "input": Sample(DOCUMENTS),
    "instances": Sample([{"query": QUERY, "texts": DOCUMENTS}]),
    "text_pairs": Sample([[QUERY, DOCUMENTS[0]]]),
    "top_n": Sample(1),
    "top_k": Sample(1),
    "return_documents": Sample(True),
    "return_text": Sample(True),
    "return_input": Sample(True),
    "return_len": Sample("true"),
    "rank_fields": Sample(["title"], {"documents": OBJECTS}),
    "threshold": Sample(0.5),
    "score_threshold": Sample(0.5),
    "similarity_threshold": Sample(0.5),
    "relevance_threshold": Sample(0.5),
    "min_score": Sample(0.5),
    "raw_scores": Sample(True),
    "use_activation": Sample(False),
    "activation": Sample(False),
    "normalize": Sample(False),
    "instruction": Sample(ASKED),
    "instruct": Sample(ASKED),
    "chat_template_kwargs": Sample({"instruction": ASKED}),
    "kwargs": Sample(json.dumps({"instruction": ASKED})),
    "max_length": Sample(16),
    "long_documents": Sample("chunk", _SHORT),
    "max_tokens_per_doc": Sample(3),
    "max_tokens_per_query": Sample(2),
    "max_chunks_per_doc": Sample(4, _SHORT),
    "overlap_tokens": Sample(1, {**_SHORT, "long_documents": "chunk"}),
    "truncation": Sample("longest_first", {"max_length": 12}),
    "truncation_side": Sample("left", _SHORT),
    "truncate_prompt_tokens": Sample(16),
    "truncate": Sample(False, _SHORT),
    "truncation_direction": Sample("Left", _SHORT),
    "fusion": Sample("rrf"),
    "fusion_weight": Sample(50, {"fusion": "rrf"}),
    "explain": Sample(True),
    "timeout": Sample(30, is_visible=False),
    "cache": Sample(False, is_visible=False),
    "strict": Sample(True, is_visible=False),
    "relevant_spans": Sample({"mode": "enabled"}),
    "priority": Sample(3, is_visible=False),
    "user": Sample("ada"),
    "request_id": Sample("7"),
    "cache_salt": Sample("salt"),
    "mm_processor_kwargs": Sample({"size": 7}),
    "add_special_tokens": Sample(False),
    "parameters": Sample({"top_n": 1}),
}
