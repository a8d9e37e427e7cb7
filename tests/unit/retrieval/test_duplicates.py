from __future__ import annotations

import pytest

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


ROW = (
    "The extended warranty of the kettle K7 costs {amount} for all customers of the shop and covers repairs of "
    "the heater, the lid, the switch and the cord that were reported before the end of {year} by letter or on the "
    "telephone."
)
ZEILE = (
    "客户购买本公司生产的各种型号水壶之后在{year}年底之前可以凭发票到任何一家门店免费更换滤芯"
    "一次并且可以领取{amount}元的购物券"
)
LONG = "of the same words in a long and winding row " * 3


def row(amount: str = "29 euros", year: str = "2024") -> str:
    return ROW.format(amount=amount, year=year)


def zeile(amount: str = "50", year: str = "2024") -> str:
    return ZEILE.format(amount=amount, year=year)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (row(), row("39 euros", "2025")),
        (row(), row(year="2025")),
        (row(), row("29 pounds")),
        (row("29 €"), row("29 £")),
        (row("2.90 euros"), row("29.0 euros")),
        (row("-5 euros"), row("5 euros")),
        (row("three euros"), row("four euros")),
        (row(year="March"), row(year="April")),
        (row(), row().replace("covers", "never covers")),
        (zeile(), zeile(year="2025")),
        (zeile("五十", "二〇二四"), zeile("五十", "二〇二五")),
        (zeile("５０"), zeile("６０")),
        (zeile(), zeile().replace("可以凭", "不可以凭")),
        (f"from 3 to 5 {LONG}", f"from 5 to 3 {LONG}"),
    ],
)
def test_texts_that_differ_in_a_fact_are_both_kept(first: str, second: str) -> None:
    assert duplicates([first, second]) == {}
    assert duplicates([second, first]) == {}


def test_copies_of_a_text_with_numbers_are_duplicates() -> None:
    copies = [
        row(),
        row().replace("2", "２"),
        row().upper(),
        row() + " Thanks.",
        row().replace("heater", "he\u00adater"),
    ]
    assert duplicates(copies) == dict.fromkeys(range(1, len(copies)), 0)
    assert duplicates([row(), row()[: len(ROW) // 2]]) == {1: 0}


def test_a_longer_text_with_more_numbers_is_kept() -> None:
    assert duplicates([row(), row() + " From 2026 on it costs 35 euros."]) == {}
