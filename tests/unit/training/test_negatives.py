from __future__ import annotations

from collections.abc import Sequence

from rerankd.training.examples import Example
from rerankd.training.negatives import add_negatives
from tests.unit.training.material import animals

PANDA = Example("what does the panda eat", ("the panda eats bamboo",))
DOUBLE = "what the panda does eat is bamboo"
OTHERS = [Example("what does the tiger eat", ("the tiger eats deer",), (DOUBLE, "a panda does not eat deer"))]


def test_keywords_find_what_is_missing() -> None:
    examples = add_negatives([PANDA, *OTHERS], 2)
    assert len(examples[0].negatives) == 2
    assert not set(examples[0].negatives) & set(PANDA.positives)
    assert examples[1].negatives == OTHERS[0].negatives
    assert [one.query for one in examples] == [PANDA.query, OTHERS[0].query]


def test_the_champion_drops_what_it_holds_for_an_answer() -> None:
    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        return [0.9 if "bamboo" in text else 0.3 for text in texts]

    negatives = add_negatives([PANDA, *OTHERS], 3, score)[0].negatives
    assert DOUBLE in add_negatives([PANDA, *OTHERS], 3)[0].negatives
    assert DOUBLE not in negatives
    assert "a panda does not eat deer" in negatives


def test_a_text_that_differs_in_case_only_is_no_negative_of_its_double() -> None:
    other = Example("q", ("THE panda eats  bamboo",))
    assert add_negatives([PANDA, other], 2)[0].negatives == ()


def test_scores_of_a_teacher_stay_where_nothing_is_added() -> None:
    scored = Example("what does the panda eat", ("the panda eats bamboo",), ("no",), (3.0,), (1.0,))
    assert add_negatives([scored, *OTHERS], 1)[0] == scored
    assert add_negatives([scored], 5)[0] == scored
    assert add_negatives([scored, *OTHERS], 2)[0].positive_scores == ()


def test_passages_of_other_examples_are_looked_through() -> None:
    assert add_negatives([PANDA], 2) == [PANDA]
    assert DOUBLE in add_negatives([PANDA], 3, among=OTHERS)[0].negatives


def test_candidates_that_nobody_judged_come_first_where_the_champion_agrees() -> None:
    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        return [0.9 if "bamboo" in text else 0.3 for text in texts]

    open_ones = Example(PANDA.query, PANDA.positives, unjudged=("pandas love bamboo", "a car", "THE PANDA EATS BAMBOO"))
    assert add_negatives([open_ones], 1, score)[0].negatives == ("a car",)
    assert add_negatives([open_ones, *OTHERS], 2, score)[0].negatives[0] == "a car"


def test_enough_is_enough() -> None:
    examples = animals()
    assert add_negatives(examples, 3) == examples
