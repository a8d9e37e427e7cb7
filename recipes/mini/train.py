"""Step 2: softmax cross-entropy inside groups (`groups.py`), and among all passages of a step.

Two phases. The first leaves out the packs of `LEFT_OUT`, and its result is measured on them, so that transfer costs no
second run; the second goes on with every pack. Texts are cut to the window that shares most with the query, because
tokens are the budget, or, half of them, read from the beginning, as the product does.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy, kl_div

from rerankd.training.late_interaction import Ranker, load

from . import loop
from .groups import SIZE, Groups
from .tokens import Tokens, encode

log = logging.getLogger("recipe")

LEFT_OUT = frozenset({"toyhom-zh", "dureader-zh", "medquad-en", "tatqa-en", "covidqa-en"})
STEP_TOKENS = 7000
QUERY = 96
LENGTHS = ((112, 0.4), (208, 0.35), (384, 0.25))  # of passages, and the share of steps
WHOLE = 0.5  # share of groups read from the beginning
AROUND = 0.3  # weight of the other passages of a step
GUIDED = 0.7  # weight of a larger ranker's opinion
RATES = {"mix": 2e-1, "weigher": 3e-3, "body": 5e-5}
TEMPERATURE = 0.03
START_MIX = (16.0, 16.0, 3.0)


def parameter_groups(master: Ranker, rate: float) -> list[dict[str, object]]:
    """Learning rates. Pieces stay as they are: rare ones keep their meaning, and most of a step's cost is saved."""
    members: dict[str, list[torch.nn.Parameter]] = {kind: [] for kind in RATES}
    for name, parameter in master.named_parameters():
        if "word_embeddings" in name:
            parameter.requires_grad_(False)
        elif name in ("mix", "bias"):
            members["mix"].append(parameter)
        elif name.startswith(("meaning", "piece")):
            members["weigher"].append(parameter)
        else:
            members["body"].append(parameter)
    return [{"params": found, "lr": rate * RATES[kind]} for kind, found in members.items()]


def drawn(groups: Groups, tokens: Tokens, draw: random.Random) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of a step's queries and passages, `SIZE` for each query, the answer first."""
    (length,) = draw.choices([size for size, _ in LENGTHS], [share for _, share in LENGTHS])
    queries: list[list[int]] = []
    passages: list[list[int]] = []
    spent = 0
    while spent < STEP_TOKENS:
        group = groups.draw(draw)
        asked, whole = tokens(group.query)[:QUERY], draw.random() < WHOLE
        queries.append(asked)
        for text in group.texts:
            passage = tokens(text)
            passage = passage[:length] if whole else tokens.window(asked, passage, length, draw)
            passages.append(passage)
            spent += len(passage) + 5
    return queries, passages


def train(
    groups: Groups,
    start: Path,
    out: Path,
    work: Path,
    minutes: float,
    *,
    name: str = "train",
    rate: float = 1.0,
    larger: Path | None = None,
    mix: Sequence[float] | None = None,
) -> None:
    """Train a ranker from `start` for `minutes` and write it to `out`.

    Args:
        groups: what it learns from.
        start: folder of a ranker, or of the encoder that it begins from.
        out: folder to write.
        work: folder for checkpoints.
        minutes: compute budget.
        name: of the phase.
        rate: factor of the learning rates.
        larger: folder of a ranker that teaches it.
        mix: weights of the three similarities to begin with; None for those it has.
    """
    master = load(start)
    if mix is not None:
        master.mix.data = torch.tensor(mix)
    model = load(start).bfloat16()  # computes; the float32 master learns
    model.encoder.bert.embeddings.word_embeddings.requires_grad_(False)
    guide = load(larger).bfloat16().eval() if larger is not None else None
    tokens = Tokens(Tokenizer.from_file(str(start / "tokenizer.json")))
    theirs = Tokens(Tokenizer.from_file(str(larger / "tokenizer.json"))) if larger is not None else None
    log.info("%s: %s", name, groups.sizes)

    def logits_of(
        ranker: Ranker, own: Tokens, queries: list[list[int]], passages: list[list[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits within groups, and cosines of every query with every passage."""
        asked = encode(ranker, queries, own.prefixes["query"])
        given = encode(ranker, passages, own.prefixes["passage"])
        rows = torch.arange(len(queries)).repeat_interleave(SIZE)
        return ranker(asked[rows], given).view(-1, SIZE), asked.mean @ given.mean.T

    def loss_of(step: int, fraction: float) -> torch.Tensor:
        queries, passages = drawn(groups, tokens, random.Random(f"{name}{step}"))
        logits, cosines = logits_of(model, tokens, queries, passages)
        target = torch.zeros_like(logits)
        target[:, 0] = 1.0
        if guide is not None and theirs is not None:
            with torch.no_grad():
                taught = logits_of(guide, theirs, *drawn(groups, theirs, random.Random(f"{name}{step}")))[0]
            target = (1 - GUIDED) * target + GUIDED * taught.softmax(-1)
        within = kl_div(logits.log_softmax(-1), target, reduction="batchmean")
        answers = torch.arange(len(queries)) * SIZE
        return within + AROUND * cross_entropy(cosines / TEMPERATURE, answers)

    loop.train(name, master, parameter_groups(master, rate), loss_of, minutes=minutes, work=work, computing=model)
    master.save(out, start / "tokenizer.json")


def main() -> None:
    """One phase, for experiments."""
    parser = argparse.ArgumentParser(description="Train one phase of the ranker.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--name", default="train")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--larger", type=Path, default=None, help="folder of a larger ranker that teaches")
    parser.add_argument("--leave-out", nargs="*", default=[])
    parser.add_argument("--mix", type=float, nargs=3, default=None, help="weights of the similarities to begin with")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(2)
    torch.manual_seed(0)
    arguments.work.mkdir(parents=True, exist_ok=True)
    left_out = frozenset(arguments.leave_out)
    groups = Groups(arguments.data, left_out)
    train(
        groups,
        arguments.start,
        arguments.out,
        arguments.work,
        arguments.minutes,
        name=arguments.name,
        rate=arguments.rate,
        larger=arguments.larger,
        mix=arguments.mix,
    )


if __name__ == "__main__":
    main()
