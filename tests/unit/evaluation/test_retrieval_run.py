from __future__ import annotations

import pytest

from rerankd.evaluation.retrieval_run import index_search


@pytest.mark.slow
def test_documents_are_indexed_and_asked() -> None:
    documents = {"a": "手机的保修期为一年", "b": "goods are returned within a week", "c": "other"}
    scores, description = index_search()({"q1": "保修多久", "q2": "returning goods", "q3": "zzz"}, documents, 2)
    assert [list(scores[q]) for q in ("q1", "q2", "q3")] == [["a"], ["b"], []]
    assert "index of 3 documents (keywords)" in description
