"""The index in Milvus: Milvus Lite, which speaks as the server does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rerankd.errors import ConflictError, NotFoundError
from rerankd.retrieval.ingest import IngestOptions, ingest
from rerankd.retrieval.milvus import MilvusIndex
from rerankd.retrieval.splitting import SplitOptions
from tests.unit.retrieval.letters import Letters, offsets

pytestmark = pytest.mark.filterwarnings("ignore")  # of pymilvus and what it brings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a.md").write_text("# 保修\n\n手机的保修期为一年。\n\n# Returns\n\nGoods may be returned within a week.")
    (root / "b.txt").write_text("Pandas eat bamboo. " * 20)
    return root


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MilvusIndex]:
    made = MilvusIndex(str(tmp_path / "milvus.db"), create=True)
    yield made
    made.close()


OPTIONS = IngestOptions(SplitOptions(32, 4))


def test_documents_come_in_change_and_go(folder: Path, index: MilvusIndex) -> None:
    report = ingest([folder], index, offsets, OPTIONS)
    assert (report.added, report.errors, report.passages) == (2, [], len(index))
    first = index.search("保修多久", 5)[0]
    assert "一年" in first.text
    assert first.metadata["source"].endswith("a.md")
    assert first.metadata["score"] > 0
    assert "bamboo" in index.search("bamboo", 1)[0].text
    assert ingest([folder], index, offsets, OPTIONS).unchanged == 2
    (folder / "a.md").write_text("# 保修\n\n保修期改为两年。")
    (folder / "b.txt").unlink()
    report = ingest([folder], index, offsets, OPTIONS)
    assert (report.changed, report.removed) == (1, 1)
    assert [row["text"] for row in index.rows()] == ["保修\n保修期改为两年。"]
    assert index.files().keys() == {(folder / "a.md").as_posix()}


def test_vectors_are_fused_and_do_not_mix(folder: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "vectors.db")
    index = MilvusIndex(path, embedder=Letters(), create=True)
    ingest([folder], index, offsets, OPTIONS)
    assert "bamboo" in index.search("bmboo aestand", 3)[0].text
    with pytest.raises(ConflictError, match="letters, not with others"):
        MilvusIndex(path, embedder=Letters("others"))
    index.close()


def test_without_an_index_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="rerankd index"):
        MilvusIndex(str(tmp_path / "none.db"))
