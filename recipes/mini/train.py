"""Step 3: the cross-encoder: softmax cross-entropy inside groups (`groups.py`), towards labels and the teacher.

Two phases, so that transfer costs no second run: the first leaves out the packs of `LEFT_OUT`, and its result is
measured on them; the second goes on with every pack. Most of the time texts are cut to the window that shares most
with the query, because tokens are the budget; the end of a phase reads longer ones, as the product does.
"""

from __future__ import annotations

import argparse
import logging
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import kl_div

from . import loop
from .groups import SIZE, Group, Groups
from .model import Ranker, load
from .tokens import Tokens, encode, score_rows

log = logging.getLogger("recipe")

LEFT_OUT = frozenset({"toyhom-zh", "dureader-zh", "medquad-en", "tatqa-en", "covidqa-en"})
STEP_TOKENS = 6000
SHORT, MIDDLE, LONG = 112, 224, 416
LONGER_FROM = 0.7
WHOLE = 0.25  # share of groups read from the beginning
GUIDED = 0.7  # weight of a larger ranker's opinion
RATES = {"fast": 1e-3, "head": 5e-4, "body": 1.3e-4}

Rows = list[tuple[list[int], int]]


def read(tokens: Tokens, group: Group, length: int, draw: random.Random) -> Rows:
    """The pairs of a group, each text cut to the part that shares most with the query unless it is read whole."""
    ids = tokens(group.query)[: length // 2]
    whole = draw.random() < WHOLE
    rows = []
    for place, text in enumerate(group.texts):
        document = tokens(text)
        room = length - 3 - len(ids)
        if not whole:
            document = tokens.window(ids, document, room, draw)
        if place == 0 and group.thinned:
            document = tokens.thinned(ids, document, group.thinned, draw)
        rows.append(encode(ids, document, length))
    return rows


def length_of(fraction: float, draw: random.Random) -> int:
    """Longest pair of a step, given how much of the phase is over."""
    if fraction < LONGER_FROM:
        return draw.choices((SHORT, MIDDLE), (0.75, 0.25))[0]
    return draw.choices((SHORT, MIDDLE, LONG), (0.3, 0.4, 0.3))[0]


def parameter_groups(master: Ranker, rate: float) -> list[dict[str, object]]:
    """Learning rates. Pieces stay as they are: rare ones keep their meaning, and half of them cost no step."""
    members: dict[str, list[torch.nn.Parameter]] = {kind: [] for kind in RATES}
    for name, parameter in master.named_parameters():
        if "word_embeddings" in name:
            parameter.requires_grad_(False)
        elif "token_type" in name:
            members["fast"].append(parameter)
        elif name.startswith(("classifier", "pooler")):
            members["head"].append(parameter)
        else:
            members["body"].append(parameter)
    return [{"params": found, "lr": rate * RATES[kind]} for kind, found in members.items()]


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
) -> None:
    """Train a ranker from `start` for `minutes` and write it to `out`; `larger` is a ranker that teaches it."""
    master = load(start)
    model = load(start).bfloat16()  # computes; the float32 master learns
    model.encoder.bert.embeddings.word_embeddings.requires_grad_(False)
    guide = load(larger).bfloat16().eval() if larger is not None else None
    tokens = Tokens(Tokenizer.from_file(str(start / "tokenizer.json")))
    log.info("%s: %s", name, groups.sizes)

    def loss_of(step: int, fraction: float) -> torch.Tensor:
        draw = random.Random(f"{name}{step}")
        length = length_of(fraction, draw)
        rows: Rows = []
        targets = []
        spent = 0
        while spent < STEP_TOKENS:
            group = groups.draw(draw)
            added = read(tokens, group, length, draw)
            rows += added
            spent += sum(len(row) for row, _ in added)
            targets.append(group.target)
        target = torch.stack(targets)
        if guide is not None:
            with torch.no_grad():
                taught = score_rows(guide, rows).view(-1, SIZE).softmax(-1)
            target = (1 - GUIDED) * target + GUIDED * taught
        logits = score_rows(model, rows).view(-1, SIZE)
        return kl_div(logits.log_softmax(-1), target, reduction="batchmean")

    loop.train(name, master, parameter_groups(master, rate), loss_of, minutes=minutes, work=work, computing=model)
    groups.save()
    master.save(out, start / "tokenizer.json")


def main() -> None:
    """One phase, for experiments."""
    parser = argparse.ArgumentParser(description="Train one phase of the cross-encoder.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the whole encoder")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--name", default="train")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--larger", type=Path, default=None, help="folder of a larger ranker that teaches")
    parser.add_argument("--leave-out", nargs="*", default=[])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(2)
    torch.manual_seed(0)
    arguments.work.mkdir(parents=True, exist_ok=True)
    groups = Groups(arguments.data, frozenset(arguments.leave_out), arguments.teacher, arguments.work / "store")
    train(
        groups,
        arguments.start,
        arguments.out,
        arguments.work,
        arguments.minutes,
        name=arguments.name,
        rate=arguments.rate,
        larger=arguments.larger,
    )


if __name__ == "__main__":
    main()
