from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rerankd.retrieval.lance import LanceIndex
from rerankd.retrieval.retriever import IndexedPassage


def indexed(folder: Path, texts: Sequence[str]) -> LanceIndex:
    index = LanceIndex(folder, create=True)
    index.add([IndexedPassage(f"a#{part}", "a", part, "d", text, {}) for part, text in enumerate(texts)])
    index.refresh()
    return index


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("the needle", " ".join(f"word{number}" for number in range(300)) + " needle"),
        ("更换滤芯", "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥" * 3 + "滤芯"),
        ("sum " + "0123456789abcdef" * 8, "0123456789abcdef" * 8),
        ("ヤカンの保証", "ﾔｶﾝ"),
        ("Herr Mu\u0308ller", "Müller"),
        ("Kettle\u200bWarmer", "KettleWarmer"),
        ("हिन्दी पाठ", "हिन्दी"),
    ],
)
def test_what_a_text_says_is_found(tmp_path: Path, text: str, query: str) -> None:
    index = indexed(tmp_path / "index", ["something else", text])
    assert [document.text for document in index.search(query)] == [text]
