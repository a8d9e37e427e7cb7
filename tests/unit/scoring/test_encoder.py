from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from rerankd.errors import InvalidRequestError
from rerankd.models.files import load_model
from rerankd.models.template import PairTemplate
from rerankd.scoring.encoder import (
    MAX_CHARACTERS,
    PairEncoder,
    TruncationOptions,
    longest_first_lengths,
    replace_surrogates,
)

TEMPLATE = PairTemplate((0,), (2, 2), (2,))


def word_tokenizer() -> Tokenizer:
    """One id per word: w5 -> 5."""
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(2000)}, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def words(start: int, count: int) -> str:
    return " ".join(f"w{i}" for i in range(start, start + count))


@pytest.fixture(scope="module")
def encoder() -> PairEncoder:
    return PairEncoder(word_tokenizer(), TEMPLATE)


def test_template_and_segments(encoder: PairEncoder) -> None:
    ((pair,),) = encoder.encode(words(10, 2), [words(20, 3)], TruncationOptions(20))
    assert pair.ids.tolist() == [0, 10, 11, 2, 2, 20, 21, 22, 2]
    assert (pair.document_start, pair.truncated, len(pair)) == (5, False, 9)


def test_empty_document(encoder: PairEncoder) -> None:
    ((pair,),) = encoder.encode("w10", [""], TruncationOptions(20))
    assert pair.ids.tolist() == [0, 10, 2, 2, 2]


@pytest.mark.parametrize("blank", ["   ", "\u200b", "\n\u3000", "\ufeff\u00ad", "\u2800"])
def test_blank_documents_are_alike(encoder: PairEncoder, blank: str) -> None:
    (empty,), (invisible,) = encoder.encode("w10", ["", blank], TruncationOptions(20))
    assert invisible.ids.tolist() == empty.ids.tolist()


def test_only_second_cuts_the_query_to_three_quarters(encoder: PairEncoder) -> None:
    ((pair,),) = encoder.encode(words(100, 50), [words(200, 50)], TruncationOptions(40))
    assert pair.ids.tolist() == [0, *range(100, 130), 2, 2, *range(200, 206), 2]
    assert pair.truncated


def test_longest_first(encoder: PairEncoder) -> None:
    ((pair,),) = encoder.encode(words(100, 5), [words(200, 50)], TruncationOptions(20, "longest_first"))
    assert pair.ids.tolist() == [0, *range(100, 105), 2, 2, *range(200, 211), 2]


@given(st.integers(0, 80), st.integers(0, 80), st.integers(1, 60))
def test_longest_first_as_the_tokenizers_library(first: int, second: int, room: int) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(room, strategy="longest_first")
    ids = tokenizer.encode("a " * first, "b " * second).ids
    assert longest_first_lengths(first, second, room) == (ids.count(0), ids.count(1))


@pytest.mark.slow
@given(st.integers(1, 30), st.integers(0, 400), st.integers(0, 30), st.integers(1, 40))
def test_chunks_cover_the_document(query: int, document: int, overlap: int, max_chunks: int) -> None:
    encoder = PairEncoder(word_tokenizer(), TEMPLATE)
    truncation = TruncationOptions(48, long_documents="chunk", chunk_overlap=overlap, max_chunks=max_chunks)
    (windows,) = encoder.encode(words(500, query), [words(600, document)], truncation)
    assert 1 <= len(windows) <= max_chunks
    read: list[int] = []
    for window in windows:
        assert len(window) <= 48
        read += window.ids[window.document_start : -1].tolist()
    wanted = set(range(600, 600 + document))
    assert set(read) <= wanted
    if not any(window.truncated for window in windows):
        assert set(read) == wanted


def test_chunks_overlap(encoder: PairEncoder) -> None:
    truncation = TruncationOptions(16, long_documents="chunk", chunk_overlap=4)
    (windows,) = encoder.encode("w1 w2", [words(100, 22)], truncation)
    assert [(w.ids[5], w.ids[-2], len(w)) for w in windows] == [(100, 109, 16), (106, 115, 16), (112, 121, 16)]


def test_more_chunks_than_allowed_are_said_to_be_truncated(encoder: PairEncoder) -> None:
    truncation = TruncationOptions(16, long_documents="chunk", chunk_overlap=4, max_chunks=2)
    (windows,) = encoder.encode("w1 w2", [words(100, 30)], truncation)
    assert [window.truncated for window in windows] == [True, True]


def test_huge_documents_are_cut_before_they_are_tokenised(bert: Path) -> None:
    files = load_model(str(bert))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    text = "大熊猫 eats bamboo，生活在四川。" * 50_000
    started = time.perf_counter()
    pairs = encoder.encode("熊猫吃什么", [text] * 50, TruncationOptions(512))
    assert time.perf_counter() - started < 5, "fifty documents of a megabyte"
    expected = files.tokenizer().encode(text[:20_000], add_special_tokens=False).ids
    for (pair,) in pairs:
        assert pair.truncated
        assert pair.ids[pair.document_start : -1].tolist() == expected[: 512 - pair.document_start - 1]


@pytest.mark.slow
def test_what_gives_next_to_no_tokens_is_cut_in_the_end_and_said_to_be(bert: Path) -> None:
    files = load_model(str(bert))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    ((pair,),) = encoder.encode("q", [" " * (MAX_CHARACTERS + 1) + "bamboo"], TruncationOptions(64))
    assert pair.truncated
    ((untruncated,),) = encoder.encode("q", ["bamboo"], TruncationOptions(64))
    assert not untruncated.truncated


def test_huge_document_of_white_space_is_read_to_its_end(bert: Path) -> None:
    files = load_model(str(bert))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    ((pair,),) = encoder.encode("熊猫", [" " * 1_000_000 + "bamboo"], TruncationOptions(512))
    ((short,),) = encoder.encode("熊猫", ["bamboo"], TruncationOptions(512))
    assert pair.ids.tolist() == short.ids.tolist()


def test_lone_surrogates() -> None:
    assert replace_surrogates("a\ud800b") == "a\ufffdb"
    assert replace_surrogates("\ud83d\ude00") == "😀"
    assert replace_surrogates("熊猫 😀") == "熊猫 😀"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"truncation": "first"}, "Unknown truncation 'first'. Use only_second or longest_first."),
        ({"long_documents": "split"}, "Unknown long_documents 'split'. Use truncate or chunk."),
        ({"max_length": 3}, "max_length is 3, which is too short for a pair. Use at least 8 tokens."),
        ({"chunk_overlap": -1}, "chunk_overlap must be at least 0"),
        ({"max_chunks": 0}, "max_chunks at least 1"),
    ],
)
def test_bad_policies(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        TruncationOptions(**{"max_length": 512} | options)  # type: ignore[arg-type]


def test_a_long_frame_leaves_a_token_of_either_side() -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, **{f"w{n}": n for n in range(1, 20)}}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    encoder = PairEncoder(words, PairTemplate((90, 91, 92), (93, 94, 95), (96, 97, 98)))
    for truncation in (
        TruncationOptions(8),
        TruncationOptions(8, "longest_first"),
        TruncationOptions(8, long_documents="chunk"),
    ):
        for pair, *_ in encoder.encode("w1", ["w2 w3 w4"], truncation):
            assert pair.ids.tolist() == [90, 91, 92, 1, 93, 94, 95, 2, 96, 97, 98]
            assert pair.truncated is (truncation.long_documents == "truncate")  # windows read all of it
