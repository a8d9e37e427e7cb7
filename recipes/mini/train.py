"""Step 2: train the encoder on labels, regularised towards its initial state.

A step consists of groups of one answer and hard negatives (`bank.py`): softmax cross-entropy inside the groups and
among all passages of the step. A second loss regularises: the order inside a group and the states of all tokens stay
close to those of the initial encoder, which knows topics that the labels do not cover. The final weights are
interpolated between the two (Wortsman et al. 2022).

Smaller networks can be distilled from the trained one (`imitate`, then `train` with a frozen teacher): from its token
states, then from its logits of groups, at the end with the matrix products of their int8 files (`quantised`).

Takes minutes on CUDA; a CPU works too, but slowly.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div

from rerankd.training.late_interaction import LateInteractionRanker
from rerankd.training.late_interaction_encoder import SIDE, Side

from .bank import Bank, Rows, Step
from .groups import SIZE
from .loop import draws, loop
from .students import Student
from .tokens import SEP

AROUND = 0.3  # weight of the other passages of a step
GUIDED = 0.7  # weight of the teacher's output
RETENTION_WEIGHT = 0.5  # of the order before training on labels: the encoder knows topics that labels do not show
STATE_RETENTION_WEIGHT = 1.0  # of the token states before training on labels
STATES = 3.0  # weight of its states
TEMPERATURE = 0.03
QUANTISED_FROM = 0.5  # of a student's training
START_MIX = (16.0, 16.0, 1.0)
RATES = {"mix": 5e-2, "weigher": 2e-3, "body": 4e-5}
STUDENT = 4.0  # times the teacher's rate
SMALL = 15.0  # times the teacher's rate for a network that begins with nothing
STEP_TOKENS = 56_000
WORKERS = 14
SMALL_SHAPE = {"layers": 5, "hidden": 192, "heads": 6}


def encoded(ranker: LateInteractionRanker, rows: Sequence[Rows], prefix: int, device: torch.device) -> Side:
    """Encode the texts of a step, in the order in which they were drawn."""
    width = max(part.ids.shape[1] for part in rows)
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in SIDE}
    for part in rows:
        ids = torch.from_numpy(part.ids).to(device, non_blocking=True)
        sizes = torch.from_numpy(part.sizes).to(device, non_blocking=True)
        mask = (torch.arange(ids.shape[1], device=device)[None] < sizes[:, None]).long()
        content = mask.clone()
        content[:, : 1 + prefix] = 0
        content[ids == SEP] = 0
        side = ranker.side(ids, mask, content)
        for name, values in columns.items():
            value = getattr(side, name)
            if name != "mean":
                missing = width - value.shape[1]
                value = torch.nn.functional.pad(value, (0, 0) * (value.dim() - 2) + (0, missing))
            values.append(value)
    back = torch.from_numpy(np.concatenate([part.positions for part in rows]).argsort()).to(device)
    whole = object.__new__(Side)
    for name, values in columns.items():
        setattr(whole, name, torch.cat(values).index_select(0, back))
    return whole


@dataclass(frozen=True, slots=True)
class RankerOutput:
    """Output of a ranker for a step."""

    logits: torch.Tensor
    cosines: torch.Tensor
    queries: Side
    passages: Side


def forward(ranker: LateInteractionRanker, bank: Bank, step: Step, device: torch.device) -> RankerOutput:
    """Return logits inside groups, shape (groups, SIZE), and cosines of every query with every passage."""
    queries = encoded(ranker, [step.queries], len(bank.prefixes["query"]), device)
    passages = encoded(ranker, step.passages, len(bank.prefixes["passage"]), device)
    rows = torch.arange(len(queries.ids), device=device).repeat_interleave(SIZE)
    return RankerOutput(
        ranker(queries.rows(rows), passages).view(-1, SIZE), queries.mean @ passages.mean.T, queries, passages
    )


def label_loss(student: RankerOutput, target: torch.Tensor | None = None) -> torch.Tensor:
    """Return the cross-entropy inside groups against a target (the answer by default), and among all passages."""
    if target is None:
        target = torch.zeros_like(student.logits)
        target[:, 0] = 1.0
    within = kl_div(student.logits.log_softmax(-1), target, reduction="batchmean")
    answers = torch.arange(len(student.logits), device=student.logits.device) * SIZE
    return within + AROUND * cross_entropy(student.cosines / TEMPERATURE, answers)


@torch.no_grad()
def forward_frozen(ranker: LateInteractionRanker, bank: Bank, step: Step, device: torch.device) -> RankerOutput:
    """Return the output of a frozen ranker for a step."""
    return forward(ranker, bank, step, device)


def _retention_loss(student: RankerOutput, before: RankerOutput) -> torch.Tensor:
    kept = kl_div(student.logits.log_softmax(-1), before.logits.softmax(-1), reduction="batchmean")
    moved = states_loss(None, student.passages, before.passages) + states_loss(None, student.queries, before.queries)
    return RETENTION_WEIGHT * kept + STATE_RETENTION_WEIGHT / 2 * moved


def states_loss(lift: torch.nn.Linear | None, own: Side, taught: Side) -> torch.Tensor:
    """Return one minus the mean cosine between the states of two networks, over real tokens."""
    states = own.hidden if lift is None else lift(own.hidden)
    there = (own.ids != 0).float()
    alike = cosine_similarity(states.float(), taught.hidden.detach(), dim=-1)
    loss: torch.Tensor = 1 - (alike * there).sum() / there.sum()
    return loss


def parameter_groups(ranker: LateInteractionRanker, rate: float, pieces: bool) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups with their learning rates; embeddings are frozen unless `pieces`."""
    members: dict[str, list[torch.nn.Parameter]] = {kind: [] for kind in RATES}
    for name, parameter in ranker.named_parameters():
        if "word_embeddings" in name and not pieces:
            parameter.requires_grad_(False)
        elif name in ("mix", "bias"):
            members["mix"].append(parameter)
        elif name.startswith(("meaning", "piece")):
            members["weigher"].append(parameter)
        else:
            members["body"].append(parameter)
    rates = RATES | {"body": RATES["body"] * rate}
    return [{"params": parameters, "lr": rates[kind]} for kind, parameters in members.items()]


def between(one: LateInteractionRanker, other: LateInteractionRanker, share: float) -> LateInteractionRanker:
    """Return a ranker with weights interpolated from `one` to `other` by `share` (Wortsman et al. 2022)."""
    made = copy.deepcopy(one)
    there, theirs = one.state_dict(), other.state_dict()
    made.load_state_dict({name: (1 - share) * there[name] + share * theirs[name] for name in there})
    return made.eval()


def autocast(device: torch.device) -> torch.autocast:
    """Compute matrix products in bfloat16; parameters stay float32."""
    return torch.autocast(device.type, torch.bfloat16)


def imitate(
    name: str,
    bank: Bank,
    teacher: LateInteractionRanker,
    students: dict[str, Student],
    seconds: float,
    device: torch.device,
    *,
    leave_out: frozenset[str] = frozenset(),
    tokens: int = STEP_TOKENS,
    workers: int = WORKERS,
) -> list[dict[str, float]]:
    """Train students to reproduce the states of a frozen teacher on texts without labels."""
    teacher.eval()
    trained: list[tuple[torch.nn.Module, list[dict[str, Any]]]] = []
    for student in students.values():
        listed = parameter_groups(student.ranker, 2 * student.rate, student.pieces)
        if student.lift is not None:
            listed.append({"params": list(student.lift.parameters()), "lr": 1e-3})
        trained.append((student.ranker, listed))

    def losses(parts: list[Rows], fraction: float) -> dict[str, torch.Tensor]:
        with autocast(device):
            with torch.no_grad():
                taught = encoded(teacher, parts, 0, device)
            return {
                key: states_loss(student.lift, encoded(student.ranker, parts, 0, device), taught)
                for key, student in students.items()
            }

    steps = draws(lambda number: bank.plain_step(f"{name}{number}", tokens, leave_out), workers)
    return loop(name, steps, trained, losses, seconds)


def train(
    name: str,
    bank: Bank,
    teacher: LateInteractionRanker,
    students: dict[str, Student],
    seconds: float,
    device: torch.device,
    *,
    start: LateInteractionRanker | None = None,
    resting: bool = False,
    leave_out: frozenset[str] = frozenset(),
    tokens: int = STEP_TOKENS,
    workers: int = WORKERS,
) -> list[dict[str, float]]:
    """Train the teacher on labels, and students on labels and on the teacher's current output.

    Args:
        name: name of the phase; seeds the sampling.
        bank: source of the training steps.
        teacher: network trained on labels unless `resting`.
        students: networks trained on labels and on the teacher.
        seconds: duration of the training.
        device: device to train on.
        start: initial state of the teacher, towards which it is regularised.
        resting: True to freeze the teacher.
        leave_out: packs excluded from training.
        tokens: tokens of a step.
        workers: processes that sample steps.
    """
    trained: list[tuple[torch.nn.Module, list[dict[str, Any]]]] = []
    if not resting:
        trained.append((teacher, parameter_groups(teacher, 1.0, False)))
    for student in students.values():
        listed = parameter_groups(student.ranker, student.rate, student.pieces)
        if student.lift is not None:
            listed.append({"params": list(student.lift.parameters()), "lr": 1e-3})
        trained.append((student.ranker, listed))

    def losses(step: Step, fraction: float) -> dict[str, torch.Tensor]:
        for student in students.values():
            student.ranker.encoder.quantised = fraction > QUANTISED_FROM
        with autocast(device):
            with torch.set_grad_enabled(not resting):
                taught = forward(teacher, bank, step, device)
            terms = {} if resting else {"teacher": label_loss(taught)}
            if start is not None and not resting:
                terms["retention"] = _retention_loss(taught, forward_frozen(start, bank, step, device))
            target = (1 - GUIDED) * torch.eye(SIZE, device=device)[0] + GUIDED * taught.logits.detach().softmax(-1)
            for key, student in students.items():
                own = forward(student.ranker, bank, step, device)
                imitated = states_loss(student.lift, own.passages, taught.passages)
                imitated = imitated + states_loss(student.lift, own.queries, taught.queries)
                terms[key] = label_loss(own, target) + STATES / 2 * imitated
        return terms

    steps = draws(lambda number: bank.step(f"{name}{number}", tokens, leave_out), workers)
    return loop(name, steps, trained, losses, seconds)
