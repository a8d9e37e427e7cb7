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
