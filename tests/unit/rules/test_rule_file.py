from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError
from rerankd.rules.rule_file import parse_rules, read_rules

GOOD = """
max_shift: 1.5
date_field: published
rules:
  - name: warranty   # weights of key terms
    when: {terms: [保修, warranty], language: zh, tenant: team-a}
    documents: {terms: {保修期: 1.0, 质保: 0.5}}
    boost: 0.8
  - name: drafts
    documents: {metadata: {status: [Draft, archived], level: 3}}
    bury: 2
  - name: old news
    when: {regex: "最新|latest"}
    documents: {older_than: 365d, source: "news/*"}
    bury: 1
  - name: recall
    when: {terms: 召回}
    documents: {source: [notices/*, legal/*], newer_than: 90d}
    pin: 1
  - name: internal
    documents: {metadata: {visibility: internal}}
    filter: true
  - name: phones
    synonyms: [手机, 移动电话, phone]
  - name: abbreviations
    synonyms: {VAT: [value added tax, 增值税]}
"""


def test_every_kind_of_rule_is_read() -> None:
    rules = parse_rules(GOOD.encode())
    assert [rule.action for rule in rules.rules] == ["boost", "bury", "bury", "pin", "filter", "synonyms", "synonyms"]
    first, drafts, old, recall, *_, phones, vat = rules.rules
    assert first.when.terms == {"保修", "warranty"}
    assert first.when.tenants == {"team-a"}
    assert first.when.language == "zh"
    assert first.which.terms == {"保修期": 1.0, "质保": 0.5}
    assert first.weight == 0.8
    assert first.line == 5
    assert drafts.which.metadata == {"status": {"draft", "archived"}, "level": {3}}
    assert old.when.regex is not None
    assert old.which.older_than == 365 * 86_400
    assert recall.position == 1
    assert recall.which.sources == ("notices/*", "legal/*")
    assert phones.synonyms["手机"] == ("移动电话", "phone")
    assert vat.synonyms == {"vat": ("value added tax", "增值税")}
    assert rules.max_shift == 1.5
    assert rules.date_field == "published"


def test_the_version_is_of_the_content() -> None:
    one = parse_rules(GOOD.encode())
    assert one.version == parse_rules(GOOD.encode()).version
    assert one.version != parse_rules((GOOD + "\n# other").encode()).version


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("", 1, "is empty"),
        ("[]", 1, "is a list"),
        ("max_shift: 1", 1, "no 'rules'"),
        ("rules: 3", 1, "it must be a list"),
        ("rules:\n  - name: a\n    boost: 1", 2, "says nothing about documents"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}", 2, "no action"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    boost: 1\n    pin: 1", 2, "2 actions"),
        ("rules:\n  - documents: {terms: [x]}\n    boost: 1", 2, "has no name"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    bost: 1", 4, "is not a known field"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    boost: high", 4, "number from 0"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    boost: -1", 4, "number from 0"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    boost: .nan", 4, "number from 0"),
        ("rules:\n  - name: a\n    documents: {terms: []}\n    boost: true", 4, "number from 0"),
        ("rules:\n  - name: a\n    when: {regex: '('}\n    documents: {terms: [x]}\n    boost: 1", 3, "regular"),
        ("rules:\n  - name: a\n    when: {regex: '(a)\\1'}\n    documents: {terms: [x]}\n    pin: 1", 3, "linear time"),
        (
            "rules:\n  - name: a\n    when: {language: fr}\n    documents: {terms: [x]}\n    boost: 1",
            3,
            "one of zh, en",
        ),
        ("rules:\n  - name: a\n    documents: {older_than: soon}\n    bury: 1", 3, "write an age"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    pin: 0", 4, "must be from 1 to"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    pin: 1.5", 4, "an integer of at least 1"),
        ("rules:\n  - name: a\n    documents: {}\n    pin: 1", 3, "is empty"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    filter: false", 4, "must be true"),
        ("rules:\n  - name: a\n    synonyms: [x, X]", 3, "fewer than two"),
        ("rules:\n  - name: a\n    documents: {terms: [x]}\n    synonyms: [x, y]", 3, "means nothing"),
        ("rules:\n  - {name: a, synonyms: [x, y]}\n  - {name: a, synonyms: [x, y]}", 3, "in line 2"),
        ("rules:\n  - name: a\n    name: b\n    synonyms: [x, y]", 3, "given twice"),
        ("rules:\n  - name: 'a\n    boost: 1", 2, "not valid YAML"),
        ("rules:\n\t- name: a", 2, "not valid YAML"),
        ("rules:\n  - name: !!python/object:os.system a\n    synonyms: [x, y]", 2, ""),
        ("rules:\n  - name: [a]\n    synonyms: [x, y]", 2, "not a text"),
        ("rules:\n  - name: a\n    documents: {metadata: {x: {y: 1}}}\n    boost: 1", 3, "value"),
        ("rules:\n  - name: a\n    documents:\n    boost: 1", 3, "rule 'a'.documents is empty"),
        ("rules:\n  - name: a\n    when: 3\n    documents: {terms: x}\n    boost: 1", 3, "a table with terms, regex"),
        ("rules:\n  - name: a\n    synonyms:\n      - x\n      - [y]", 5, "rule 'a'.synonyms[2] is a list"),
        ("rules:\n  - name: a\n    documents: {terms: {x: y}}\n    boost: 1", 3, "rule 'a'.documents.terms.x is 'y'"),
        ("rules:\n  - name: a\n    boost: x\n    pin: x\n  - 3", 3, "(2 more errors in the file.)"),
        ("rules: [7]", 1, "rules[1] is a number; it must be a table with name"),
        ("? [a]\n: 1", 1, "not a string"),
    ],
)
def test_a_fault_is_said_with_its_line(content: str, line: int, says: str) -> None:
    with pytest.raises(InvalidInputFileError) as error:
        parse_rules(content.encode(), "rules.yaml")
    assert f"rules.yaml, line {line}" in str(error.value)
    assert says in str(error.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    with pytest.raises(InvalidInputFileError, match="cannot be read"):
        read_rules(path)
    path.write_bytes("rules: []\n# 保修".encode("gb18030"))
    with pytest.raises(InvalidInputFileError, match="line 2: not UTF-8"):
        read_rules(path)
    path.write_text("rules: " + "[" * 5000)
    with pytest.raises(InvalidInputFileError):
        read_rules(path)


def test_a_billion_laughs_stay_small() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    with pytest.raises(InvalidInputFileError):
        parse_rules(bomb.encode())


@given(st.binary(max_size=200) | st.text(alphabet="rules: -[]{}nameboost\n 1&*!", max_size=80).map(str.encode))
def test_no_content_breaks_the_reader(content: bytes) -> None:
    with contextlib.suppress(InvalidInputFileError):
        parse_rules(content)
