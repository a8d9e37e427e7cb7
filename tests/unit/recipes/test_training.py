from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from recipes.mini import students, train, validation
from recipes.mini.__main__ import FOLDS, summarised
from recipes.mini.bank import Bank, JudgedQuery
from recipes.mini.groups import SIZE, WEIGHTS
from rerankd.training.late_interaction import LateInteractionRanker

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def a_bank() -> Bank:
    """Return queries of two tokens, whose answers hold both; other passages hold neither."""
    draw = random.Random(4)
    texts: list[list[int]] = []

    def number(ids: list[int]) -> int:
        texts.append(ids)
        return len(texts) - 1

    examples = []
    for _ in range(40):
        query = [draw.randint(10, 30), draw.randint(10, 30)]
        answer = [*query, *draw.choices(range(40, 60), k=4)]
        others = [number(draw.choices(range(40, 60), k=draw.randint(3, 9))) for _ in range(8)]
        examples.append((number(query), [number(answer)], others, 0.0))
    sentences = [(number([n + 10, 31]), number([n + 10, 32])) for n in range(20)]
    content: dict[str, Any] = {
        "examples": {next(iter(WEIGHTS)): examples},
        "sentences": sentences,
        "crosslingual": {"en-zh": [(number([n + 10, 33]), number([n + 10, 34])) for n in range(20)]},
        "plain": [number(draw.choices(range(10, 60), k=90)) for _ in range(5)],
        "asked": {"any": {"pack": [(q, [*p, *n], [0.0] * 9, [1] + [0] * 8, [1]) for q, p, n, _ in examples]}},
        "traps": [("zh", examples[0][0], [*examples[0][2][:3], examples[0][1][0]], 3)],
        "prefixes": {"query": [5], "passage": [6]},
    }
    content["flat"] = np.concatenate([np.array(text, np.uint16) for text in texts])
    content["starts"] = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    return Bank(content)


def a_ranker() -> LateInteractionRanker:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
        initializer_range=0.2,
    )
    return LateInteractionRanker(BertModel(config, add_pooling_layer=False))


def test_steps_have_the_answer_first_and_can_be_drawn_again() -> None:
    bank = a_bank()
    one, again = bank.step("s", 700), bank.step("s", 700)
    assert len(one.queries.ids) * SIZE == sum(len(part.ids) for part in one.passages)
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(one.passages, again.passages, strict=True))
    rows = {int(position): row for part in one.passages for position, row in zip(part.positions, part.ids, strict=True)}
    for position, query in zip(one.queries.positions, one.queries.ids, strict=True):
        query_tokens = {int(token) for token in query if token >= 10}
        if 31 not in query_tokens and 32 not in query_tokens:  # a sentence's answer is its translation
            assert query_tokens <= {int(token) for token in rows[int(position) * SIZE]}


def test_crosslingual_groups_have_passages_of_one_language() -> None:
    step = a_bank().step("s", 700, sentences=0.0, crosslingual=1.0)
    rows = {
        int(position): row for part in step.passages for position, row in zip(part.positions, part.ids, strict=True)
    }
    for position, query in zip(step.queries.positions, step.queries.ids, strict=True):
        passages = [rows[int(position) * SIZE + number].tolist() for number in range(SIZE)]
        assert 33 in query
        assert all(34 in passage for passage in passages)
        matching = [number for number, passage in enumerate(passages) if set(query) & set(passage) & set(range(10, 30))]
        assert matching == [0]


def test_the_window_shares_most_with_the_query() -> None:
    bank = a_bank()
    text = np.array([*[40] * 60, *[11, 12] * 10, *[41] * 60], np.uint16)
    window = bank.window(np.array([11, 12], np.uint16), text, 30, random.Random(1))
    assert len(window) == 30
    assert {11, 12} & set(window.tolist())


def test_texts_come_back_in_the_order_in_which_they_were_drawn() -> None:
    bank, ranker = a_bank(), a_ranker().eval()
    texts = [np.array(ids, np.uint16) for ids in ([11] * 70, [12], [13, 14], [15] * 9)]
    with torch.inference_mode():
        together = train.encoded(ranker, bank.framed(texts, "passage", 3), 1, CPU)
        alone = [train.encoded(ranker, bank.framed([text], "passage", 1), 1, CPU) for text in texts]
    for position, one in enumerate(alone):
        torch.testing.assert_close(together.mean[position], one.mean[0], atol=1e-4, rtol=1e-4)
        assert int(together.content[position].sum()) == len(texts[position])


@pytest.mark.slow
def test_training_learns_what_labels_say_and_a_student_follows() -> None:
    bank, ranker, start = a_bank(), a_ranker(), a_ranker().eval()
    student = students.Student(students.shortened(ranker, [1]), 4.0)
    small, lift = students.narrowed(ranker, 1, 32, 4)
    learners = {"one": student, "small": students.Student(small, 15.0, lift, True)}
    how: dict[str, Any] = {"tokens": 400, "workers": 0}
    imitated = train.imitate("i", bank, ranker, learners, 1.0, CPU, **how)
    curve = train.train("t", bank, ranker, learners, 2.0, CPU, start=start, **how)
    assert imitated[-1]["one"] < 1
    assert set(curve[-1]) == {"step", "seconds", "teacher", "retention", "one", "small"}
    measured = validation.measured(ranker.eval(), bank, bank.asked["any"], CPU)["pack"]
    assert measured["queries"] == 40
    assert measured["alone"] > 0.6  # chance is about 0.45
    assert validation.solved(ranker, bank, CPU)["zh"] in (0, 1)


def test_weights_between() -> None:
    one, other = a_ranker(), a_ranker()
    with torch.no_grad():
        other.mix.add_(10.0)
    assert torch.allclose(train.between(one, other, 0.7).mix, one.mix + 7.0)


@pytest.mark.parametrize("grades", [[0, 1, 0], [1, 0, 1], [0, 0, 0]])
def test_ndcg_is_what_ir_measures_says(grades: list[int]) -> None:
    import ir_measures

    scores = [0.3, 0.9, 0.5]
    qrels = {"q": {f"d{n}": grade for n, grade in enumerate([*grades, 1])}}
    run = {"q": {f"d{n}": score for n, score in enumerate(scores)}}
    expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
    assert validation.ndcg(scores, grades, [*grades, 1]) == pytest.approx(expected)


def test_eight_and_seven_bits_change_little_and_leave_special_tokens() -> None:
    bank, ranker = a_bank(), a_ranker().eval()
    rows = bank.framed([np.array([11, 12, 13], np.uint16)], "query", 1)
    with torch.inference_mode():
        plain = train.encoded(ranker, rows, 1, CPU).hidden
        ranker.encoder.quantised = True
        rounded = train.encoded(ranker, rows, 1, CPU).hidden
    assert 0 < float((plain - rounded).abs().max()) < 0.3


def test_folds_leave_every_pack_that_counts_out_once() -> None:
    names = [name for fold in FOLDS for name in fold]
    assert len(names) == len(set(names)) == 5
    rows = [[0.5, 0.7, 0.6]] * 4
    summary = summarised(
        {name: {"rows": rows, "queries": 4, "bm25": 0.5, "alone": 0.7, "fused": 0.6} for name in names}
    )
    assert {(row["language"], row["kind"]) for row in summary["together"]} == {
        (language, kind) for language in ("zh", "en") for kind in ("alone", "fused")
    }
    assert summary["packs"][0]["delta"] == pytest.approx(0.2)


def test_nothing_is_evaluated_without_candidates() -> None:
    assert validation.measured(a_ranker().eval(), a_bank(), {"empty": [JudgedQuery(0, [], [], [], [1])]}, CPU) == {}
