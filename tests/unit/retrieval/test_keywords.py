from __future__ import annotations

from rerankd.retrieval.keywords import keywords


def test_keywords_of_mixed_text() -> None:
    assert keywords("The iPhone手机, v2") == ["the", "iphone", "手", "机", "手机", "v2"]
