from __future__ import annotations

from rerankd.demo import load_traps
from rerankd.retrieval.keywords import KeywordIndex, keywords


def test_keywords_of_mixed_text() -> None:
    assert keywords("The iPhone手机, v2") == ["the", "iphone", "手", "机", "手机", "v2"]


def test_rare_words_count_more() -> None:
    index = KeywordIndex(["apple pear", "apple plum", "apple fig"])
    assert index.rank("apple fig")[0] == 2
    assert KeywordIndex(["x", "y"]).scores("nothing") == [0.0, 0.0]
    assert KeywordIndex([]).rank("a") == []


def test_every_trap_fools_keywords() -> None:
    traps = load_traps()
    assert len(traps) >= 12
    assert sum(trap.language == "zh" for trap in traps) * 2 == len(traps)
    for trap in traps:
        assert KeywordIndex(trap.documents).rank(trap.query)[0] != trap.answer, trap.query
