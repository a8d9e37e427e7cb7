from __future__ import annotations

from collections import Counter

from rerankd.demo.shop import RULES, load_questions, load_sections
from rerankd.rules.rule_file import read_rules


def test_every_question_has_a_section_that_answers_it() -> None:
    ids = {section.id for language in ("en", "zh") for section in load_sections(language)}
    questions = load_questions()
    assert {question.answer for question in questions} <= ids
    languages = Counter(question.language for question in questions)
    assert abs(languages["en"] - languages["zh"]) <= 1


def test_a_section_is_one_paragraph_with_its_heading() -> None:
    section = next(each for each in load_sections("zh") if each.id == "returns.zh.md#换尺码")
    assert section.text.startswith("换尺码\n鞋子和外套")
    assert section.metadata == {"source": "returns.zh.md", "heading": "换尺码"}


def test_the_rules_are_valid() -> None:
    assert {rule.action for rule in read_rules(RULES).rules} == {"filter", "pin", "boost", "synonyms"}
