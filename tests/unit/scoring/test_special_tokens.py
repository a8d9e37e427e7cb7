from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from rerankd.models.template import PairTemplate
from rerankd.scoring.encoder import PairEncoder, TruncationOptions

TEMPLATE = PairTemplate((0,), (2, 2), (2,))
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "<", "/s>", "s>", "pad>", "mask>", "unk>"]


@pytest.fixture(scope="module")
def encoder() -> PairEncoder:
    """Return an encoder whose vocabulary has its special tokens as words too, as those of XLM-RoBERTa have."""
    tokenizer = Tokenizer(models.WordLevel({word: id_ for id_, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in WORDS[:5]])
    return PairEncoder(tokenizer, TEMPLATE)


def read(encoder: PairEncoder, text: str) -> list[str]:
    ((pair,),) = encoder.encode("a", [text], TruncationOptions(40))
    assert pair.ids[-1] == 2
    return [WORDS[id_] for id_ in pair.ids[pair.document_start : -1]]


@pytest.mark.parametrize("token", ["</s>", "<s>", "<pad>", "<mask>"])
def test_special_tokens_in_a_text_are_text(encoder: PairEncoder, token: str) -> None:
    assert read(encoder, f"a {token} b") == ["a", "<", token[1:], "b"]
    assert read(encoder, token) == ["<", token[1:]]
    assert read(encoder, f"a{token}") == ["<unk>", token[1:]]


def test_other_spellings_of_special_tokens_are_left_out(encoder: PairEncoder) -> None:
    assert read(encoder, "a \uff1c/s\uff1e b") == ["a", "b"]


def test_a_query_is_read_in_the_same_way(encoder: PairEncoder) -> None:
    ((pair,),) = encoder.encode("a </s>", ["b"], TruncationOptions(40))
    assert pair.ids.tolist() == [0, 5, 7, 8, 2, 2, 6, 2]
