from __future__ import annotations

from rerankd.retrieval.duplicates import duplicates


def test_copies_and_near_copies_give_way_to_the_better_one() -> None:
    texts = [
        "本产品的保修期为一年，自购买之日起计算。",
        "The warranty lasts one year from the day of purchase, as the law says.",
        "本产品的保修期为一年，自购买之日起计算！",
        "The warranty lasts one year from the day of purchase, as the law says it.",
        "退货须在七天之内提出。",
        "Something else that has the same topic of warranty and purchase.",
    ]
    assert duplicates(texts) == {2: 0, 3: 1}


def test_short_texts_are_the_same_only_as_a_whole() -> None:
    assert duplicates(["yes", "no", "yes", "", ""]) == {2: 0, 4: 3}
