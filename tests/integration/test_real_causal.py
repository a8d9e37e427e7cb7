"""A real language model as a reranker: the logits of transformers, and the order of the demo's documents.

Name its folder in `RERANKD_CAUSAL_MODEL`: a Qwen2 or Qwen3 model, such as Qwen/Qwen2.5-0.5B-Instruct. The figures are
logged: `--log-cli-level=INFO` shows them.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.demo import load_traps
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.scoring.encoder import PairEncoder, TruncationOptions

VARIABLE = "RERANKD_CAUSAL_MODEL"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def folder() -> Path:
    name = os.environ.get(VARIABLE, "")
    if not name:
        pytest.skip(f"{VARIABLE} names no folder of a real causal model")
    return Path(name)


def test_real_weights_score_as_in_transformers(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    reranker = Reranker(str(folder), backend="torch", device="cpu", precision="fp32")
    architecture = reranker.files.manifest.architecture
    assert isinstance(architecture, DecoderArchitecture)
    encoder = PairEncoder(reranker.files.tokenizer(), reranker.files.manifest.template)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    differences, first = [], 0
    for trap in load_traps():
        ours = np.array(reranker.score([(trap.query, text) for text in trap.documents], activation="none"))
        theirs = []
        for chunks in encoder.encode(trap.query, trap.documents, TruncationOptions(reranker.max_length)):
            with torch.inference_mode():
                logits = model(torch.from_numpy(chunks[0].ids)[None], logits_to_keep=1).logits[0, -1]
            false = 0.0 if architecture.false_id is None else float(logits[architecture.false_id])
            theirs.append(float(logits[architecture.true_id]) - false)
        differences.append(float(np.abs(ours - theirs).max()))
        first += int(int(ours.argmax()) == trap.answer)
        assert (np.argsort(-ours) == np.argsort(-np.array(theirs))).all(), trap.query
    message = "largest difference %.2e, answer first in %d of %d"
    logging.getLogger(__name__).info(message, max(differences), first, len(differences))
    assert max(differences) < 1e-3
