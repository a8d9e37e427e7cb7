from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.retrieval.attribution import AnswerSentence, attribute, split_answer
from rerankd.retrieval.citations import cited_parts
from rerankd.retrieval.figures import figures


def split(text: str, passages: int = 3) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.text, each.citations) for each in split_answer(text, passages)]


def test_a_citation_behind_the_full_stop_belongs_to_the_sentence_before() -> None:
    assert split("It is so. [1][2] And then. [3]") == [("It is so. [1][2]", (1, 2)), (" And then. [3]", (3,))]
    assert split("保修一年。[1]材料有缺陷。") == [("保修一年。[1]", (1,)), ("材料有缺陷。", ())]


def test_a_citation_that_begins_a_line_belongs_to_what_follows() -> None:
    assert split("- One.\n- [2] Two.") == [("- One.\n", ()), ("- [2] Two.", (2,))]


def test_a_block_of_code_is_one_piece_and_cites_nothing() -> None:
    text = "Run this:\n```\nrows[1]. Next. [2]\n```\nDone [1]."
    assert [cited for _, cited in split(text)] == [(), (), (1,)]
    assert "".join(part for part, _ in split(text)) == text


@given(st.text(alphabet="ab. \n[]1234,。`！-", max_size=60), st.integers(0, 4))
def test_joined_the_sentences_are_the_answer(text: str, passages: int) -> None:
    assert "".join(each.text for each in split_answer(text, passages)) == text
    assert "".join(part for part, _ in cited_parts(text, passages)) == text


@pytest.mark.parametrize("text", ["rows[0]", "[2023]", "[0, 1]", "[9]", "`x[1]`"])
def test_what_cites_nothing_is_text(text: str) -> None:
    assert cited_parts(text, 3) == [(text, ())]


class Scores:
    """Scores a sentence with a passage by the share of its words that the passage has."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, groups: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        self.asked += [query for query, _ in groups]
        return [[_overlap(query, text) for text in texts] for query, texts in groups]


def _overlap(query: str, text: str) -> float:
    words = {word.strip(".") for word in query.lower().split()}
    return len(words & {word.strip(".") for word in text.lower().split()}) / len(words)


async def test_uncited_sentences_are_matched_or_unsupported() -> None:
    scores = Scores()
    answer = split_answer("Pandas eat bamboo. They fly to the moon. Cars need fuel [2].", 2)
    matched = await attribute(answer, ["All pandas eat bamboo.", "Cars need fuel."], scores)
    assert [(each.citations, each.attributed, each.unsupported) for each in matched] == [
        ((), (1,), False),
        ((), (), True),
        ((2,), (), False),
    ]
    assert matched[0].score == 1.0
    assert scores.asked == ["Pandas eat bamboo.", "They fly to the moon."]


@pytest.mark.parametrize(
    "text", ["Yes.", "", "What do you mean by that?", "Here is the list:", "# The whole heading", "好的。"]
)
async def test_what_states_nothing_is_left_alone(text: str) -> None:
    scores = Scores()
    [sentence] = await attribute([AnswerSentence(text)], ["a passage"], scores)
    assert (sentence.attributed, sentence.unsupported, scores.asked) == ((), False, [])


async def test_without_passages_nothing_is_scored() -> None:
    scores = Scores()
    await attribute([AnswerSentence("They fly to the moon.")], [], scores)
    assert scores.asked == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It costs 24.50, or 1,500 in all", {24.5, 1500}),
        ("twenty-four hours, two hundred and five pages", {24, 205}),
        ("three thousand two hundred", {3200}),
        ("十二个月，一百六十元，二〇二六年", {12, 160, 2026}),
        ("两万三千", {23000}),
        ("one of them, 一个，十分好", set()),
        ("３ 天", {3}),
    ],
)
def test_numbers_are_values(text: str, numbers: set[float]) -> None:
    assert figures(text) == numbers


async def test_a_passage_without_the_number_supports_no_sentence_with_it() -> None:
    passages = ["The repair of a zip costs twenty-four euros.", "A new zip costs 30 euros."]
    right, wrong = split_answer("The repair of a zip costs 24 euros. The repair of a zip costs 90 euros.", 2)
    matched = await attribute([right, wrong], passages, Scores(), 0.5)
    assert [(each.attributed, each.unsupported) for each in matched] == [((1,), False), ((), True)]


async def test_a_copied_sentence_is_supported_whatever_its_score() -> None:
    async def low(groups: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        return [[0.2 if number == 0 else 0.1 for number, _ in enumerate(texts)] for _, texts in groups]

    copied = "We name the price before we begin, and send it back."
    passages = ["Something else entirely.", f"Repairs are at cost. {copied} Customers abroad pay the transport."]
    [sentence] = await attribute(split_answer(copied, 2), passages, low)
    assert (sentence.attributed, sentence.score, sentence.unsupported) == ((2,), 0.1, False)
