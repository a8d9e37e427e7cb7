from __future__ import annotations

import pytest

from rerankd.evaluation.dataset import Dataset
from rerankd.training.examples import Example
from rerankd.training.leaks import exclude_leaks
from tests.unit.training.material import animals


def queries_of(*queries: str, answer: str = "") -> Dataset:
    """Return a set that asks these; the first is answered by the text."""
    qrels = {str(position): {"a": 1, "b": 0} for position in range(len(queries))}
    texts = {"a": answer, "b": "of no use"} if answer else {}
    return Dataset("zoo", {str(position): query for position, query in enumerate(queries)}, texts, qrels, {}, "")


def test_queries_of_evaluation_sets_are_left_out() -> None:
    checked = exclude_leaks(animals(4), [queries_of("other"), queries_of("  WHAT does the Panda eat?")])
    assert (checked.same, checked.near, checked.leaked) == (1, 0, 1)
    assert [one.query for one in checked.kept] == [one.query for one in animals(4)[1:]]


@pytest.mark.parametrize(
    ("example", "judged", "near"),
    [
        ("what does the panda eat", "What does the panda eat?", True),
        (
            "what does the giant panda eat in the cold winter months",
            "what does the giant panda eat in the cold winter",
            True,
        ),
        ("what does the panda eat?", "what does the tiger eat?", False),
        ("What was the revenue of the group in 2018?", "What was the revenue of the group in 2019?", False),
        ("大熊猫在冬天的山里一般都吃些什么东西呢", "大熊猫在冬天的山里一般都吃些什么东西？", True),
        ("大熊猫吃什么", "大老虎吃什么", False),
        ("熊猫", "熊猫？", True),
        ("ｉＰｈｏｎｅ　１５　Ｐｒｏ　怎么样？", "iPhone 15 Pro 怎么样", True),
        (
            "What was the total revenue of the group from continuing operations in 2018?",
            "What was the total revenue of the group from continuing operations in 2019?",
            False,
        ),
        ("learn C++", "learn C#", False),
        ("price > 5", "price < 5", False),
        ("2018년 매출", "2018년 이익", False),
        ("где ты", "где он", False),
        ("pandas", "pandas and bears", False),
        ("?!", "!?", False),
    ],
)
def test_what_is_asked_nearly_the_same(example: str, judged: str, near: bool) -> None:
    checked = exclude_leaks([Example(example, ("yes",), ("no",))], [queries_of(judged)])
    assert (checked.near, len(checked.kept)) == ((1, 0) if near else (0, 1))


def test_shared_answers_are_counted_and_kept() -> None:
    judged = queries_of("of what is it afraid?", answer=" The panda eats BAMBOO")
    checked = exclude_leaks([*animals(3), Example("which is of no use?", ("of no use",))], [judged])
    assert (len(checked.kept), checked.shared, checked.leaked) == (4, 1, 0)


def test_nothing_to_compare_with() -> None:
    checked = exclude_leaks(animals(3), [])
    assert (len(checked.kept), checked.leaked, checked.shared) == (3, 0, 0)
