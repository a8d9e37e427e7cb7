"""Step 1: prune the encoder to the vocabulary pieces that Chinese and English need.

XLM-RoBERTa's 250,000 pieces serve a hundred languages. Those are kept that segment the corpora and the frequent words
of both languages (wordfreq), every single character among them; each keeps its embedding and its score, so a text that
needs no other piece is segmented as before. Special tokens get BERT's names, because the network is BERT's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel

from . import data, source

PIECES = 32_000
SPECIAL = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<unk>"}
PAD, UNK, CLS, SEP, MASK = range(5)
WORDS = 120_000
MIXED = 200.0  # occurrences in the corpora that the most frequent words' list weighs as much as


def tokenizer(pieces: list[str], scores: list[float], unknown: int) -> Tokenizer:
    """Return a tokenizer that segments like SentencePiece."""
    made = Tokenizer(Unigram(list(zip(pieces, scores, strict=True)), unk_id=unknown, byte_fallback=False))
    made.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def full_tokenizer(model: source.Source) -> Tokenizer:
    """Return the encoder's full tokenizer, for use with a teacher."""
    return tokenizer(model.pieces, model.scores, model.pieces.index("<unk>"))


def _texts(root: Path) -> Iterable[str]:
    """Yield running text of both languages; none from packs, so that held-out packs stay unseen."""
    entries = data.dictionary(root)
    to_traditional = data.script_map(entries)
    chinese = data.paragraphs(root, "zh", 6000)
    yield from chinese
    yield from (text.translate(to_traditional) for text in chinese[::4])
    yield from data.paragraphs(root, "en", 6000)
    for simplified, traditional, gloss in entries:
        yield f"{simplified} {traditional} {gloss}"
    for one, other, _ in data.parallel_sources(root):
        yield one
        yield other
    for name in ("zh", "en"):
        yield from data.pair_texts(root, name)


def _words(root: Path) -> Iterable[tuple[str, float]]:
    """Yield frequent words with their frequency per million words."""
    from wordfreq import get_frequency_dict

    to_traditional = data.script_map(data.dictionary(root))
    for language in ("en", "zh"):
        listed = sorted(get_frequency_dict(language, "large").items(), key=lambda item: -item[1])[:WORDS]
        for word, frequency in listed:
            yield word, frequency * 1e6
            if language == "en":
                yield word.capitalize(), frequency * 3e5
            elif word.translate(to_traditional) != word:
                yield word.translate(to_traditional), frequency * 3e5


def choose(root: Path, model: source.Source, count: int = PIECES) -> list[int]:
    """Return the numbers of the pieces to keep, the most useful first."""
    whole_tokenizer = full_tokenizer(model)
    used: Counter[int] = Counter()
    texts = [text[:600] for text in _texts(root)]
    for start in range(0, len(texts), 20_000):
        for encoding in whole_tokenizer.encode_batch(texts[start : start + 20_000], add_special_tokens=False):
            used.update(encoding.ids)
    for word, frequency in _words(root):
        for piece in whole_tokenizer.encode(word, add_special_tokens=False).ids:
            used[piece] += frequency * MIXED / 100
    special = {model.pieces.index(name) for name in SPECIAL.values()}
    single = [i for i, piece in enumerate(model.pieces) if _needed(piece) and i not in special]
    # A character that is not kept is lost: those of the two scripts and marks come first.
    kept = dict.fromkeys(single)
    for piece, _ in used.most_common():
        if len(kept) == count:
            break
        if piece not in special:
            kept[piece] = None
    return list(kept)


def _needed(piece: str) -> bool:
    """Return True if a piece is one character of Chinese or English writing."""
    bare = piece.removeprefix("▁") or piece
    return len(bare) == 1 and (bare.isascii() or "一" <= bare <= "鿿" or "　" <= bare <= "〿" or bare in "▁“”‘’—…·％℃")


def prune(root: Path, out: Path, layers: Iterable[int], pieces: int = PIECES) -> None:
    """Write the encoder with fewer pieces and the given layers, and its tokenizer, to `out`."""
    model = source.read()
    kept = choose(root, model, pieces)
    names = list(SPECIAL)
    rows = [model.pieces.index(SPECIAL[name]) for name in names] + kept
    lowest = min(model.scores)
    made = tokenizer(
        names + [model.pieces[i] for i in kept], [0.0] * len(names) + [max(lowest, model.scores[i]) for i in kept], UNK
    )
    made.add_special_tokens(names)
    write_encoder(model, out, rows, list(layers))
    made.save(str(out / "tokenizer.json"), pretty=False)


def write_encoder(checkpoint: source.Source, out: Path, rows: list[int], layers: list[int]) -> None:
    """Write the chosen rows and layers as a `BertModel` folder."""
    weights = {name: value for name, value in checkpoint.weights.items() if ".layer." not in name}
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][rows]
    for new, old in enumerate(layers):
        prefix = f"encoder.layer.{old}."
        weights |= {
            f"encoder.layer.{new}.{name.removeprefix(prefix)}": value
            for name, value in checkpoint.weights.items()
            if name.startswith(prefix)
        }
    words, hidden = weights["embeddings.word_embeddings.weight"].shape
    config = BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=checkpoint.heads,
        intermediate_size=weights["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=weights["embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        pad_token_id=PAD,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    (out / "vocabulary.json").write_text(json.dumps({"pieces": words, "layers": layers}))
