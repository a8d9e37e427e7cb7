"""Step 3: the last layers read query and document together.

The attention between the texts is opened in the last layers, and the network is trained on two kinds of steps
(`train_joint`): labelled groups of the packs, where a share of the target is the order of the network before, which
knows topics that labels do not cover; and written groups (`written.py`), where shared words mislead. The layers that
read both texts separately are frozen: they keep what they know of languages and topics, and a step takes half the
time. The last part of the training computes with the matrix products of the int8 file.

States are bfloat16 inside the layers and parameters float32, so a CPU with AMX is used well.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch.nn.functional import kl_div

from rerankd.training.late_interaction import LateInteractionRanker

from .bank import PARTS, WIDTH, Bank, Step
from .groups import SIZE, WEIGHTS
from .loop import draws, loop
from .students import shortened
from .train import encoded

JOINT_LAYERS = 3
LENGTHS = ((96, 0.5), (160, 0.3), (256, 0.2))
LONGER = ((96, 0.3), (160, 0.3), (256, 0.4))  # for joint layers: written passages are short, those of packs are not
MORE = {"covidqa-en": 3.5, "drcd-zh": 2.0, "drcd-zhs": 1.5, "cmrc-zh": 1.2, "dureader-zh": 0.8}  # where it fell behind
JOINT_SENTENCES, CROSSLINGUAL = 0.12, 0.15  # shares of labelled groups: joint layers forget what crosses languages
TOKENS = 6000
GUIDED = 0.5  # share of the target that is the order of the network before, in guided steps
GUIDED_EVERY = 2  # of the labelled steps, one is guided: the network before costs half of a step's time
QUANTISED_FROM = 0.8
RATES = {"mix": 1e-2, "head": 1e-3, "body": 2.5e-4, "cross_bias": 2e-2}


def parameter_groups(ranker: LateInteractionRanker, rate: float = 1.0) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups; embeddings are frozen, because the file holds them in 4 bits."""
    members: dict[str, list[torch.nn.Parameter]] = {kind: [] for kind in RATES}
    for name, parameter in ranker.named_parameters():
        if "word_embeddings" in name:
            parameter.requires_grad_(False)
        elif name in ("mix", "bias"):
            members["mix"].append(parameter)
        elif name.startswith(("meaning", "piece", "joint")):
            members["head"].append(parameter)
        else:
            members["cross_bias" if name == "cross_bias" else "body"].append(parameter)
    return [{"params": values, "lr": rate * RATES[kind]} for kind, values in members.items() if values]


def with_joint_layers(ranker: LateInteractionRanker, count: int) -> LateInteractionRanker:
    """Return a copy of a ranker without joint layers whose last `count` layers read both texts."""
    made = shortened(ranker, range(len(ranker.encoder.bert.encoder.layer)), count)
    made.encoder.compute_dtype = ranker.encoder.compute_dtype
    return made


def freeze_separate_layers(ranker: LateInteractionRanker) -> None:
    """Freeze what is computed before the joint layers."""
    bert: Any = ranker.encoder.bert
    for part in (bert.embeddings, bert.encoder.layer[: len(bert.encoder.layer) - ranker.encoder.joint_layers]):
        part.requires_grad_(False)


def train_joint(
    name: str,
    bank: Bank,
    teacher: LateInteractionRanker,
    student: LateInteractionRanker,
    seconds: float,
    device: torch.device,
    *,
    leave_out: frozenset[str] = frozenset(),
    tokens: int = TOKENS,
    written_share: float = 0.3,
    rate: float = 1.0,
    quantised_from: float = QUANTISED_FROM,
    workers: int = 0,
) -> list[dict[str, float]]:
    """Train a ranker on labelled and written groups.

    Args:
        name: name of the phase; seeds the sampling.
        bank: source of the training steps.
        teacher: ranker whose order regularises labelled groups.
        student: the ranker to train.
        seconds: duration of the training.
        device: device to train on.
        leave_out: packs excluded from training.
        tokens: tokens of a step.
        written_share: share of steps with written groups.
        rate: factor of the learning rates.
        quantised_from: share of the training after which products are those of the int8 file.
        workers: processes that sample steps.
    """
    teacher = _frozen(teacher)
    labelled = itertools.count()

    def draw(number: int) -> Step:
        seed = f"{name}{number}"
        if bank.written and number * written_share % 1 < written_share:
            return bank.written_step(seed, tokens)
        return bank.step(seed, tokens, leave_out, LONGER, WEIGHTS | MORE, JOINT_SENTENCES, CROSSLINGUAL)

    def losses(step: Step, fraction: float) -> dict[str, torch.Tensor]:
        student.encoder.quantised = fraction > quantised_from
        own, *_ = _scored(student, bank, step, device)
        if step.written:
            return {"written": _divergence(own, None, 0.0)}
        if next(labelled) % GUIDED_EVERY:
            return {"labelled": _divergence(own, None, 0.0)}
        with torch.no_grad():
            taught, *_ = _scored(teacher, bank, step, device)
        return {"guided": _divergence(own, taught, GUIDED)}

    trained = [(student, parameter_groups(student, rate))]
    curve = loop(name, draws(draw, workers), trained, losses, seconds)
    student.encoder.quantised = False
    return curve


def _scored(ranker: LateInteractionRanker, bank: Bank, step: Step, device: torch.device) -> tuple[Any, Any, Any]:
    """Return the logits of a step's groups, shape (groups, SIZE), and both sides after the separate layers."""
    queries = encoded(ranker, [step.queries], len(bank.prefixes["query"]), device)
    passages = encoded(ranker, step.passages, len(bank.prefixes["passage"]), device)
    rows = torch.arange(len(queries.ids), device=device).repeat_interleave(SIZE)
    logits, order = [], passages.mask.sum(1).argsort()
    for part in order.chunk(PARTS if ranker.encoder.joint_layers else 1):
        logits.append(ranker(queries.rows(rows[part]).trimmed(WIDTH), passages.rows(part).trimmed(WIDTH)))
    return torch.cat(logits)[order.argsort()].view(-1, SIZE), queries, passages


def _divergence(logits: torch.Tensor, taught: torch.Tensor | None, share: float) -> torch.Tensor:
    """Return the divergence from a target: the answer, and for a share the order of another network."""
    target = torch.zeros_like(logits)
    target[:, 0] = 1 - share
    if taught is not None:
        target = target + share * taught.softmax(-1)
    return kl_div(logits.log_softmax(-1), target, reduction="batchmean")


def _frozen(ranker: LateInteractionRanker) -> LateInteractionRanker:
    made = copy.deepcopy(ranker).eval().requires_grad_(False)
    made.encoder.compute_dtype = torch.bfloat16
    return made
