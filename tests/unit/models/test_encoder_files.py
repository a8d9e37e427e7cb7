from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from rerankd.errors import ModelNotFoundError
from rerankd.models.encoder_files import find_encoder, text_template
from rerankd.models.template import PairTemplate


def tokenizer(template: str | None) -> Tokenizer:
    vocabulary = {"[CLS]": 7, "[SEP]": 8, "a": 0, "[UNK]": 1}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if template is not None:
        made.post_processor = TemplateProcessing(single=template, special_tokens=[("[CLS]", 7), ("[SEP]", 8)])
    return made


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("[CLS] $A [SEP]", PairTemplate((7,), (), (8,))),
        ("$A [SEP]", PairTemplate((), (), (8,))),
        ("[CLS] $A", PairTemplate((7,), (), ())),
        (None, PairTemplate((), (), ())),
    ],
)
def test_the_special_tokens_are_those_around_one_text(template: str | None, expected: PairTemplate) -> None:
    assert text_template(tokenizer(template)) == expected


@pytest.mark.parametrize("reference", ["mini", "registry:legal"])
def test_a_reranker_is_no_encoder(reference: str) -> None:
    with pytest.raises(ModelNotFoundError, match="is not an encoder"):
        find_encoder(reference)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        find_encoder(str(tmp_path / "nothing"))
