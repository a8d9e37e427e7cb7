from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import WordLevel  # noqa: E402

from recipes.mini import source, strangers, vocabulary  # noqa: E402  torch is optional
from recipes.mini import tokens as pairs  # noqa: E402
from recipes.mini.model import Ranker, load  # noqa: E402

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "中"]


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    model = Ranker(BertModel(config, add_pooling_layer=False)).eval()
    torch.nn.init.normal_(model.classifier.weight)
    return model


def empty_tokenizer(folder: Path) -> Path:
    Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_a_pair_scores_alike_alone_and_in_a_batch(ranker: Ranker) -> None:
    rows = [pairs.encode([10, 11], document, 40) for document in ([12], [10, 11, 12, 13], [20] * 30)]
    with torch.inference_mode():
        together = pairs.score_rows(ranker, rows, part_tokens=10_000)
        alone = torch.cat([pairs.score_rows(ranker, [row]) for row in rows])
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-4)


def test_a_saved_ranker_is_a_checkpoint_that_transformers_reads_and_scores_alike(
    ranker: Ranker, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    ranker.save(tmp_path, empty_tokenizer(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids, start = pairs.encode([10, 11, 12], [11, 12, 30, 31], 40)
    segments = (torch.arange(len(ids)) >= start).long()[None]
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids]), token_type_ids=segments).logits[0, 0]
        found = pairs.score_rows(ranker, [(ids, start)])[0]
        again = pairs.score_rows(load(tmp_path).eval(), [(ids, start)])[0]
    assert float(found) == pytest.approx(float(expected), abs=1e-4)
    assert float(again) == float(found)


def test_the_window_shares_most_with_the_query() -> None:
    tokens = pairs.Tokens(Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")))
    document = [*range(100, 200), 7, 8, 9, *range(200, 260)]
    window = tokens.window([7, 8, 9], document, 30, random.Random(1))
    assert len(window) == 30
    assert {7, 8, 9} & set(window)
    assert tokens.thinned([7, 8], [1, 7, 2, 8, 8], 1.0, random.Random(1)) == [1, 2]
    assert tokens.thinned([7, 8], [1, 7, 2], 0.0, random.Random(1)) == [1, 7, 2]


def test_parts_hold_every_row_once_and_no_more_than_they_may() -> None:
    draw = random.Random(0)
    lengths = [draw.randint(1, 300) for _ in range(200)]
    found = pairs.parts(lengths, 1000)
    assert sorted(i for part in found for i in part) == list(range(200))
    assert all(len(part) == 1 or pairs.rounded(max(lengths[i] for i in part)) * len(part) <= 1000 for part in found)


def four_bits(matrix: np.ndarray) -> bytes:
    """Blocks of 32 as the package holds them."""
    raw = b""
    for block in matrix.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7 or 1.0)
        numbers = np.clip(np.rint(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        raw += scale.tobytes() + (numbers[:16] | numbers[16:] << 4).tobytes()
    return raw


def write_source(path: Path) -> dict[str, np.ndarray]:
    """A file of the package's format: 2 layers, 32 wide."""
    draw = np.random.default_rng(0)
    hidden, inner, places = 32, 64, 8
    shapes = {"emb.word": (len(PIECES), hidden), "emb.pos": (places, hidden), "emb.type": (2, hidden)}
    shapes |= {"emb.ln.w": (hidden,), "emb.ln.b": (hidden,)}
    for layer in range(2):
        for part in ("q", "k", "v", "ao"):
            shapes |= {f"l{layer}.{part}.w": (hidden, hidden), f"l{layer}.{part}.b": (hidden,)}
        shapes |= {f"l{layer}.fi.w": (inner, hidden), f"l{layer}.fi.b": (inner,)}
        shapes |= {f"l{layer}.fo.w": (hidden, inner), f"l{layer}.fo.b": (hidden,)}
        shapes |= {f"l{layer}.{norm}.{kind}": (hidden,) for norm in ("aln", "oln") for kind in ("w", "b")}
    values = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    plain = {"emb.pos", "emb.type"}
    raw = {
        name: value.tobytes() if value.ndim == 1 or name in plain else four_bits(value)
        for name, value in values.items()
    }
    blob = "".join(PIECES).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    head = struct.pack("<4sI7ifi", b"E5S1", 1, hidden, 2, 4, inner, len(PIECES), places, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + offsets.tobytes()
    head += np.linspace(0, -5, len(PIECES)).astype("<f4").tobytes() + blob + struct.pack("<iI", 0, 0)
    directory_size = 4 + sum(2 + len(name) + 21 for name in raw)
    at = len(head) + directory_size
    directory = struct.pack("<i", len(raw))
    for name, data in raw.items():
        directory += (
            struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, values[name].size, at, len(data))
        )
        at += len(data)
    path.write_bytes(head + directory + b"".join(raw.values()))
    return values


def test_the_source_is_read_and_cut(tmp_path: Path) -> None:
    values = write_source(tmp_path / "source.bin")
    found = source.read(tmp_path / "source.bin")
    assert (found.pieces, found.layers, found.heads) == (PIECES, 2, 4)
    assert found.scores[0] > found.scores[-1]
    for name, key in (
        ("l1.fo.w", "encoder.layer.1.output.dense.weight"),
        ("emb.word", "embeddings.word_embeddings.weight"),
    ):
        step = np.abs(values[name].reshape(-1, 32)).max(1).repeat(32).reshape(values[name].shape) / 7
        assert (np.abs(found.weights[key].numpy() - values[name]) <= 0.51 * step).all()
    np.testing.assert_array_equal(found.weights["encoder.layer.0.output.LayerNorm.bias"].numpy(), values["l0.oln.b"])
    vocabulary.write_encoder(found, tmp_path / "cut", [1, 3, 0, 2, 3, 6], [1])
    model = load(tmp_path / "cut")
    assert len(model.encoder.bert.encoder.layer) == 1
    rows = model.encoder.bert.embeddings.word_embeddings.weight
    torch.testing.assert_close(rows[5], found.weights["embeddings.word_embeddings.weight"][6])
    kept = model.encoder.bert.encoder.layer[0].output.dense.weight
    torch.testing.assert_close(kept, found.weights["encoder.layer.1.output.dense.weight"])
    (tmp_path / "other").write_bytes(b"0" * 100)
    with pytest.raises(ValueError, match="not a file"):
        source.read(tmp_path / "other")


def test_every_character_of_both_scripts_is_needed() -> None:
    assert all(vocabulary._needed(piece) for piece in ("▁", "a", "▁a", "中", "萬", "。", "%"))
    assert not any(vocabulary._needed(piece) for piece in ("ab", "什么", "ش", "é", "の"))


def test_strangers_come_from_another_field() -> None:
    assert strangers.field("toyhom-zh", "") == "medicine"
    assert strangers.field("pairs-zh", "laws") == "law"
    assert strangers.field("pairs-en", "panel-docs") == "software"
    assert strangers.field("tatqa-en", "") == ""
    pieces = strangers.sentences("One sentence here. " * 30)
    assert all(8 <= len(piece) <= strangers.LONGEST for piece in pieces)
    assert sum(piece.count("One") for piece in pieces) == 30
