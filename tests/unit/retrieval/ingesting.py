"""Files put into an index, as tests need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rerankd.retrieval.ingest import IngestOptions, ingest
from rerankd.retrieval.ingest_report import IngestReport
from rerankd.retrieval.lance import LanceIndex
from rerankd.retrieval.splitting import SplitOptions
from tests.unit.retrieval.letters import offsets


def brought_in(folder: Path, index: LanceIndex, **options: Any) -> IngestReport:
    return ingest([folder], index, offsets, IngestOptions(SplitOptions(32, 4), **options))


def opened(tmp_path: Path, name: str = "index") -> LanceIndex:
    return LanceIndex(tmp_path / name, create=True)


def written(root: Path) -> Path:
    """Write a folder of files of several kinds: three are documents, one is hidden, one is binary."""
    (root / "sub").mkdir(parents=True)
    (root / "a.md").write_text(
        "# 保修\n\n手机的保修期为一年。\n\n# Returns\n\nGoods may be returned within seven days."
    )
    (root / "sub" / "b.txt").write_text("Pandas eat bamboo. " * 20)
    (root / "c.jsonl").write_text(
        "\n".join(f'{{"id": "{i}", "text": "row number {i} about topic{i % 7}"}}' for i in range(50))
    )
    (root / ".hidden.md").write_text("secret")
    (root / "x.bin").write_bytes(b"\0\1")
    return root
