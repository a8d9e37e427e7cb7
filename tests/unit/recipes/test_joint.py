"""Joint layers learn what late interaction cannot tell apart, and the layers before them stay as they are."""

from __future__ import annotations

import itertools
import time

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from recipes.mini import joint
from recipes.mini.bank import Bank, JudgedQuery
from recipes.mini.groups import SIZE
from recipes.mini.validation import scores
from recipes.mini.written import WrittenGroup
from rerankd.compiler.late_interaction_graph import MASKED
from tests.unit.recipes.test_training import CPU, a_bank, a_ranker

pytestmark = pytest.mark.slow

TOKENS = SIZE * 112


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step take 10 ms by the clock, however busy the machine is."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 100)


def with_written(count: int) -> Bank:
    """Return a bank with groups in which the answer ends with w9, whatever words it shares."""
    tokenizer = Tokenizer(WordLevel({f"w{n}": n for n in range(60)}, unk_token="w1"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    groups = []
    for n in range(count):
        others = tuple(f"w{10 + n} w31 w{42 + k}" for k in range(SIZE - 1))
        groups.append(WrittenGroup("en", "meaning", f"w{10 + n} w31", f"w{40 + n} w41 w9", others))
    bank = a_bank()
    bank.add_written(groups, tokenizer)
    return bank


def test_joint_layers_whose_texts_do_not_attend_rank_like_separate_ones() -> None:
    bank, ranker = a_bank(), a_ranker()
    asked: list[JudgedQuery] = bank.asked["any"]["pack"][:5]
    made = joint.with_joint_layers(ranker, 2).eval()
    made.cross_bias.data.fill_(MASKED)
    for before, after in zip(scores(ranker, bank, asked, 64, CPU), scores(made, bank, asked, 64, CPU), strict=True):
        assert before.tolist() == pytest.approx(after.tolist(), abs=0.05)


def test_joint_layers_read_the_other_text() -> None:
    bank, made = a_bank(), joint.with_joint_layers(a_ranker(), 1).eval()
    asked: list[JudgedQuery] = bank.asked["any"]["pack"][:1]
    before = scores(made, bank, asked, 64, CPU)[0]
    made.cross_bias.data.fill_(2.0)
    assert abs(before - scores(made, bank, asked, 64, CPU)[0]).max() > 1e-3


def test_scores_do_not_depend_on_the_pairs_beside_them() -> None:
    bank, made = a_bank(), joint.with_joint_layers(a_ranker(), 1).eval()
    asked: list[JudgedQuery] = bank.asked["any"]["pack"][:4]
    together, alone = scores(made, bank, asked, 64, CPU), scores(made, bank, asked, 64, CPU, texts=1)
    for one, other in zip(together, alone, strict=True):
        assert one.tolist() == pytest.approx(other.tolist(), abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("clock")
def test_it_learns_written_groups_in_which_shared_words_mislead() -> None:
    bank, teacher = with_written(12), a_ranker()
    student = joint.with_joint_layers(teacher, 1)
    curve = joint.train_joint("test", bank, teacher, student, 1.2, CPU, tokens=TOKENS, rate=4.0)
    assert {"labelled", "guided", "written"} <= curve[-1].keys()
    assert curve[-1]["written"] < 1.0 < curve[0]["written"]


@pytest.mark.usefixtures("clock")
def test_separate_layers_stay_as_they_are() -> None:
    student = joint.with_joint_layers(a_ranker(), 1)
    joint.freeze_separate_layers(student)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    joint.train_joint("test", with_written(12), a_ranker(), student, 0.06, CPU, tokens=TOKENS)
    after = student.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not {name for name in changed if ".embeddings." in name or ".layer.0." in name}
    assert {name for name in changed if ".layer.1." in name}


def test_written_steps_have_the_answer_first_and_whole_groups() -> None:
    bank = with_written(12)
    step = bank.written_step("s", 200)
    assert step.written
    rows = {
        int(position): row for part in step.passages for position, row in zip(part.positions, part.ids, strict=True)
    }
    assert len(rows) == SIZE * len(step.queries.ids)
    assert all((9 in row) == (position % SIZE == 0) for position, row in rows.items())


def test_the_joint_head_is_computed_in_float32_by_a_ranker_in_bfloat16() -> None:
    bank, made = a_bank(), joint.with_joint_layers(a_ranker(), 1).eval()
    torch.nn.init.normal_(made.joint_output.weight)
    asked: list[JudgedQuery] = bank.asked["any"]["pack"][:2]
    expected = scores(made, bank, asked, 64, CPU)
    half = scores(made.bfloat16(), bank, asked, 64, CPU)
    for one, other in zip(expected, half, strict=True):
        assert one.tolist() == pytest.approx(other.tolist(), abs=0.5)


def test_one_written_group_in_a_language_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        with_written(1)
