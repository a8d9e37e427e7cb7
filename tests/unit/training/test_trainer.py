from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rerankd.errors import CorruptModelError
from rerankd.training.adapters import add_adapters
from rerankd.training.network import cross_encoder, open_network, state_file
from rerankd.training.trainer import last_checkpoint, read_state
from tests.unit.training.material import files_of


def a_checkpoint(folder: Path, state: str | None) -> None:
    folder.mkdir(parents=True)
    if state is not None:
        (folder / "trainer_state.json").write_text(state, encoding="utf-8")


def test_the_last_whole_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "nowhere") is None
    a_checkpoint(tmp_path / "checkpoint-9", "{}")
    a_checkpoint(tmp_path / "checkpoint-20", "{}")
    a_checkpoint(tmp_path / "checkpoint-30", '{"half": ')
    a_checkpoint(tmp_path / "checkpoint-100", None)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")


def test_a_checkpoint_of_something_else_is_refused(bert: Path, tmp_path: Path) -> None:
    network = open_network(files_of(bert), 64)
    add_adapters(network, rank=4, alpha=8, seed=1)
    save_file({"other": torch.zeros(1)}, state_file(tmp_path))
    with pytest.raises(CorruptModelError, match="not a checkpoint of this run"):
        read_state(cross_encoder(network, "cpu"), tmp_path)
