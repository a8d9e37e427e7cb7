"""Training in a process of its own, ended without warning, and gone on with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerankd import Reranker
from rerankd.training.finetune import fine_tune
from rerankd.training.options import TrainOptions
from tests.unit.training.material import animals

NOISE = 1e-4  # of a logit, on one machine; sums of floats are all that may differ
STEPS = 36
OPTIONS = TrainOptions(
    epochs=8,
    groups_per_step=2,
    group_size=4,
    max_length=48,
    lora_rank=4,
    evaluations=12,
    validation=0.25,
    patience=0,
    learning_rate=1e-3,
    precision="fp32",
    device="cpu",
)
SCRIPT = """
import sys
from collections.abc import Mapping
from pathlib import Path
from tests.integration.test_training import train

if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def train(base: Path, out: Path) -> Mapping[str, Any]:
    """Train a model on one thread, or go on with a run that was interrupted, and return its record."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return fine_tune(str(base), animals(), out, OPTIONS, name="zoo").record
    finally:
        torch.set_num_threads(threads)


def begun(base: Path, out: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(base), str(out)],
        env=environment,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_at_a_checkpoint(process: subprocess.Popen[str], checkpoints: Path) -> list[str]:
    """End a process as soon as it has written a checkpoint; what there is then."""
    deadline = time.monotonic() + 240
    try:
        while not any(checkpoints.glob("checkpoint-*/trainer_state.json")):
            assert process.poll() is None, "it ended before it wrote a checkpoint"
            assert time.monotonic() < deadline, "no checkpoint was written"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return sorted(path.name for path in checkpoints.glob("checkpoint-*"))


def logits(model: Path) -> np.ndarray[Any, Any]:
    pairs = [(one.query, text) for one in animals() for text in (*one.positives, *one.negatives)]
    return np.asarray(Reranker(str(model), device="cpu", max_length=48).score(pairs, activation="none"))


def test_a_killed_run_goes_on_to_the_same_result(bert: Path, tmp_path: Path) -> None:
    cut = begun(bert, tmp_path / "cut")
    left = kill_at_a_checkpoint(cut, tmp_path / "cut" / "checkpoints")
    assert f"checkpoint-{STEPS}" not in left
    assert not (tmp_path / "cut" / "train.json").exists()
    for name, resumed in (("whole", False), ("cut", True)):
        record = train(bert, tmp_path / name)
        assert (record["resumed"], record["steps"]) == (resumed, STEPS)
    np.testing.assert_allclose(logits(tmp_path / "cut" / "model"), logits(tmp_path / "whole" / "model"), atol=NOISE)
    history = [json.loads((tmp_path / name / "train.json").read_bytes())["history"] for name in ("whole", "cut")]
    watched = [[entry["eval_loss"] for entry in one if "eval_loss" in entry] for one in history]
    assert len(watched[0]) == 1 + OPTIONS.evaluations
    np.testing.assert_allclose(watched[1], watched[0], atol=NOISE)
