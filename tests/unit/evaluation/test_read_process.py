from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.evaluation import read_process
from rerankd.evaluation.dataset import DatasetOptions, open_dataset
from tests.unit.evaluation.folders import write_folder


@pytest.mark.slow
def test_a_large_dataset_is_read_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, options = write_folder(tmp_path / "tiny"), DatasetOptions(max_queries=2, depth=2)
    monkeypatch.setattr(read_process, "LARGE_BYTES", 0)
    assert read_process.read_dataset(folder, options) == open_dataset(folder, options)
    (folder / "queries.jsonl").unlink()
    with pytest.raises(InvalidInputFileError, match=r"queries.jsonl is missing. Models need texts"):
        read_process.read_dataset(folder, options)
