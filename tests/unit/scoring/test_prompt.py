"""Prompts in token ids: those of the whole text, whatever the query and the document begin and end with."""

from __future__ import annotations

import itertools

import pytest
from tokenizers import Tokenizer

from rerankd.errors import InvalidRequestError
from rerankd.models.families.prompts import QWEN3_RERANKER
from rerankd.models.template import PromptTemplate
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions
from rerankd.scoring.prompt import layout_of
from tests.families.causal import write_tokenizer

EDGES = [
    "a",
    " a",
    "\na",
    "a?",
    "好。",
    "1",
    "a\n",
    "a ",
    "  ",
    "",
    "'s",
    "...",
    "\r\n\t",
    "é",
    "a\n\n",
    "😀",
    "-",
    '"a"',
]
TEMPLATES = {
    "qwen3": QWEN3_RERANKER,
    "line ends": PromptTemplate(("user\nQuery: ",), ("\nDocument: ",), ("\nRelevant:",)),
    "signs": PromptTemplate(("query=",), ("</q><|im_end|>(",), (")<think>",)),
    "no space": PromptTemplate(("<q>\n",), ("\n\ndocument\n",), ("\n\nanswer",)),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Tokenizer:
    folder = tmp_path_factory.mktemp("prompt")
    write_tokenizer(folder, texts)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode(tokenizer: Tokenizer, query: str, document: str, options: TruncationOptions) -> list[EncodedPair]:
    return PairEncoder(tokenizer, QWEN3_RERANKER).encode(query, [document], options)[0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_are_those_of_the_whole_prompt(tokenizer: Tokenizer, name: str) -> None:
    template = TEMPLATES[name]
    encoder = PairEncoder(tokenizer, template)
    before, between, after = template.texts(None)
    for query, document in itertools.product(EDGES, EDGES):
        if not query.strip() or not document.strip():
            continue  # blank texts are read as none
        pair = encoder.encode(query, [document], TruncationOptions(1024))[0][0]
        whole = tokenizer.encode(f"{before}{query}{between}{document}{after}", add_special_tokens=False).ids
        assert pair.ids.tolist() == whole, (query, document)


def test_document_start_is_its_first_token(tokenizer: Tokenizer) -> None:
    (pair,) = encode(tokenizer, "panda?", "a bear", TruncationOptions(1024))
    assert tokenizer.decode(pair.ids[pair.document_start :].tolist()).startswith(" a bear")


def test_special_tokens_in_texts_stay_text(tokenizer: Tokenizer) -> None:
    end = tokenizer.token_to_id("<|im_end|>")
    options = TruncationOptions(1024, instruction="find <|im_end|> it")
    (pair,) = encode(tokenizer, "q <|im_end|>", "<|im_end|> d", options)
    (usual,) = encode(tokenizer, "q", "d", TruncationOptions(1024))
    assert pair.ids.tolist().count(end) == usual.ids.tolist().count(end)


def test_the_instruction_is_in_the_prompt(tokenizer: Tokenizer) -> None:
    (pair,) = encode(tokenizer, "q", "d", TruncationOptions(1024, instruction="Find laws."))
    assert "<Instruct>: Find laws.\n<Query>: q" in tokenizer.decode(pair.ids.tolist())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("truncation", ["only_second", "longest_first"])
def test_a_long_pair_keeps_the_prompt(tokenizer: Tokenizer, side: str, truncation: str) -> None:
    options = TruncationOptions(260, truncation, truncation_side=side)  # type: ignore[arg-type]
    layout = layout_of(QWEN3_RERANKER, tokenizer, None)
    (pair,) = encode(tokenizer, "why? " * 200, "because. " * 300, options)
    ids = pair.ids.tolist()
    assert len(ids) == 260
    assert pair.truncated
    assert tuple(ids[: len(layout.start)]) == layout.start
    assert tuple(ids[-len(layout.end) :]) == layout.end
    assert tuple(ids[pair.document_start - len(layout.middle) : pair.document_start]) == layout.middle


def test_chunks_have_the_whole_prompt(tokenizer: Tokenizer) -> None:
    layout = layout_of(QWEN3_RERANKER, tokenizer, None)
    options = TruncationOptions(260, long_documents="chunk", chunk_overlap=8)
    chunks = encode(tokenizer, "why?", "because it is. " * 100, options)
    assert len(chunks) > 2
    assert all(tuple(chunk.ids[-len(layout.end) :]) == layout.end and len(chunk) <= 260 for chunk in chunks)


def test_a_prompt_that_fills_the_length_is_refused(tokenizer: Tokenizer) -> None:
    special = layout_of(QWEN3_RERANKER, tokenizer, None).special
    assert len(encode(tokenizer, "why?", "because it is.", TruncationOptions(special + 2))[0]) <= special + 2
    with pytest.raises(InvalidRequestError, match=f"prompt takes {special} tokens, and max_length is {special + 1}"):
        encode(tokenizer, "why?", "because it is.", TruncationOptions(special + 1))
    options = TruncationOptions(special + 2, instruction="Find laws. " * 40)
    with pytest.raises(InvalidRequestError, match="send a shorter instruction"):
        encode(tokenizer, "why?", "because it is.", options)
