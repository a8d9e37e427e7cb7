from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from recipes.mini import export, source, vocabulary
from recipes.mini import tokens as pairs
from rerankd import Reranker
from rerankd.models.template import PairTemplate
from rerankd.training.late_interaction import LateInteractionRanker, load

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "中"]


@pytest.fixture(scope="module")
def ranker() -> LateInteractionRanker:
    return a_ranker(0)


def a_ranker(joint_layers: int) -> LateInteractionRanker:
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
    ranker = LateInteractionRanker(BertModel(config, add_pooling_layer=False), joint_layers).eval()
    if joint_layers:
        torch.nn.init.normal_(ranker.cross_bias)
        torch.nn.init.normal_(ranker.joint_output.weight)
    return ranker


def a_tokenizer(folder: Path) -> Path:
    """Words w5 to w59, and what frames texts; `query:` and `passage:` are words 5 and 6."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query:", "passage:", *(f"w{n}" for n in range(7, 60))]
    made = Tokenizer(WordLevel({name: position for position, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = WhitespaceSplit()
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


TEXTS = ["w12", "w10 w11 w12 w13", " ".join(["w20"] * 20), "w11 w30 w31 w10", ""]


@pytest.mark.parametrize("joint_layers", [0, 2])
def test_a_pair_scores_alike_alone_and_in_a_batch(joint_layers: int, tmp_path: Path) -> None:
    ranker = a_ranker(joint_layers)
    tokens = pairs.Tokens(Tokenizer.from_file(str(a_tokenizer(tmp_path))))
    with torch.inference_mode():
        together = pairs.score(ranker, tokens, "w10 w11", TEXTS, 60)
        alone = torch.cat([pairs.score(ranker, tokens, "w10 w11", [text], 60) for text in TEXTS])
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-4)


def test_it_ranks_by_meaning_matches_and_repetition_before_any_training(ranker: LateInteractionRanker) -> None:
    mix = ranker.mix.data.clone()
    query_tokens = [[10, 11]]
    query = pairs.encode(ranker, query_tokens, [5])
    same, other = (pairs.encode(ranker, [row], [6]) for row in ([11, 10, 30], [30, 31]))
    with torch.inference_mode():
        ranker.mix.data = torch.tensor([0.0, 0.0, 1.0])
        assert float(ranker(query, same)) == pytest.approx(1.0)
        assert float(ranker(query, other)) == pytest.approx(0.0)
        ranker.mix.data = torch.tensor([1.0, 0.0, 0.0])
        assert float(ranker(query, same)) == pytest.approx(float((query.mean * same.mean).sum()))
    ranker.mix.data = mix


@pytest.mark.parametrize("joint_layers", [0, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_product_computes_what_the_ranker_computes(tmp_path: Path, precision: str, joint_layers: int) -> None:
    ranker = a_ranker(joint_layers)
    torch.manual_seed(0)
    for weigher in (ranker.meaning, ranker.piece):
        torch.nn.init.normal_(weigher.weight)
    ranker.save(tmp_path / "start", a_tokenizer(tmp_path))
    (tmp_path / "start" / "calibration.json").write_text('{"scale": 1.0, "offset": 0.0}')
    outlier_layers = frozenset({"bert.encoder.layer.1.intermediate.dense", "bert.encoder.layer.1.output.dense"})
    manifest = export.write(tmp_path / "start", tmp_path / "out", precision, outlier_layers=outlier_layers)
    assert manifest.template == PairTemplate((2, 5), (3, 2, 6), (3,))
    tokens = pairs.Tokens(Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")))
    with torch.inference_mode():
        expected = pairs.score(load(tmp_path / "start").eval(), tokens, "w10 w11 w12", TEXTS, 60).numpy()
    reranker = Reranker(str(tmp_path / "out"), max_length=60)
    scores = reranker.score([("w10 w11 w12", text) for text in TEXTS], activation="none")
    np.testing.assert_allclose(scores, expected, atol=1e-3 if precision == "fp32" else 2.0)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    rows = [[2, 5, 10, 11, 12, 3, 2, 6, *tokens(text), 3] for text in TEXTS]
    ids = np.array([row + [0] * (40 - len(row)) for row in rows])
    feed = {
        "input_ids": ids,
        "attention_mask": np.array([[1] * len(row) + [0] * (40 - len(row)) for row in rows]),
        "token_type_ids": np.array([[0] * 8 + [1] * (len(row) - 8) + [0] * (40 - len(row)) for row in rows]),
    }
    if precision == "fp32":  # int8 shares its scales among a batch; the product runs one sequence at a time
        np.testing.assert_allclose(session.run(None, feed)[0][:, 0], expected, atol=1e-3)


def test_special_tokens_are_no_text(tmp_path: Path) -> None:
    pieces = [*vocabulary.SPECIAL, "▁", "[", "]", "C", "L", "S", "▁a"]
    made = vocabulary.tokenizer(pieces, [0.0] * 5 + [-3.0] * 7, vocabulary.UNK)
    made.add_special_tokens(list(vocabulary.SPECIAL))
    made.save(str(tmp_path / "from.json"))
    export.write_tokenizer(tmp_path / "from.json", tmp_path / "to.json")
    assert Tokenizer.from_file(str(tmp_path / "from.json")).encode("[CLS] a").ids[0] == vocabulary.CLS
    tokenizer = Tokenizer.from_file(str(tmp_path / "to.json"))
    assert tokenizer.encode("[CLS] a").tokens == ["▁", "[", "C", "L", "S", "]", "▁a"]
    assert tokenizer.token_to_id("[SEP]") == vocabulary.SEP


def test_parts_hold_every_row_once_and_no_more_than_they_may() -> None:
    draw = random.Random(0)
    lengths = [draw.randint(1, 300) for _ in range(200)]
    parts = pairs.parts(lengths, 1000)
    assert sorted(i for part in parts for i in part) == list(range(200))
    assert all(len(part) == 1 or pairs.rounded(max(lengths[i] for i in part)) * len(part) <= 1000 for part in parts)


def four_bits(matrix: np.ndarray) -> bytes:
    """Blocks of 32 as the package holds them."""
    raw = b""
    for block in matrix.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7 or 1.0)
        numbers = np.clip(np.rint(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        raw += scale.tobytes() + (numbers[:16] | numbers[16:] << 4).tobytes()
    return raw


def write_source(path: Path) -> dict[str, np.ndarray]:
    """Return a file of the package's format: 2 layers, 32 wide."""
    draw = np.random.default_rng(0)
    hidden, inner, places = 32, 64, 8
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (len(PIECES), hidden),
        "emb.pos": (places, hidden),
        "emb.type": (2, hidden),
    }
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
    read = source.read(tmp_path / "source.bin")
    assert (read.pieces, read.layers, read.heads) == (PIECES, 2, 4)
    assert read.scores[0] > read.scores[-1]
    for name, key in (
        ("l1.fo.w", "encoder.layer.1.output.dense.weight"),
        ("emb.word", "embeddings.word_embeddings.weight"),
    ):
        step = np.abs(values[name].reshape(-1, 32)).max(1).repeat(32).reshape(values[name].shape) / 7
        assert (np.abs(read.weights[key].numpy() - values[name]) <= 0.51 * step).all()
    np.testing.assert_array_equal(read.weights["encoder.layer.0.output.LayerNorm.bias"].numpy(), values["l0.oln.b"])
    vocabulary.write_encoder(read, tmp_path / "cut", [1, 3, 0, 2, 3, 6], [1])
    model = load(tmp_path / "cut")
    assert len(model.encoder.bert.encoder.layer) == 1
    rows = model.encoder.bert.embeddings.word_embeddings.weight
    torch.testing.assert_close(rows[5], read.weights["embeddings.word_embeddings.weight"][6])
    kept = model.state_dict()["encoder.bert.encoder.layer.0.output.dense.weight"]
    torch.testing.assert_close(kept, read.weights["encoder.layer.1.output.dense.weight"])
    (tmp_path / "other").write_bytes(b"0" * 100)
    with pytest.raises(ValueError, match="not a file"):
        source.read(tmp_path / "other")


def test_every_character_of_both_scripts_is_needed() -> None:
    assert all(vocabulary._needed(piece) for piece in ("▁", "a", "▁a", "中", "萬", "。", "%"))
    assert not any(vocabulary._needed(piece) for piece in ("ab", "什么", "ش", "é", "の"))
