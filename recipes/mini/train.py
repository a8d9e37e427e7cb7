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
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div
from transformers import BertConfig, BertModel

from rerankd.training.late_interaction import LateInteractionRanker, Side

from .bank import Asked, Bank, Rows, Step
from .groups import SIZE
from .tokens import SEP

log = logging.getLogger("recipe")

AROUND = 0.3  # weight of the other passages of a step
GUIDED = 0.7  # weight of the teacher's opinion
GUARD = 0.5  # weight of what the encoder thought before it learned from labels: it knows topics that labels do not show
GUARD_STATES = 1.0  # and of the states it had
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


@dataclass(eq=False)
class Student:
    """A network that learns from a teacher.

    Attributes:
        ranker: the network.
        rate: learning rate of its body, relative to the teacher's.
        lift: projection of its states to the teacher's width; None if the widths are equal.
        pieces: True if its embeddings are trained.
    """

    ranker: LateInteractionRanker
    rate: float
    lift: torch.nn.Linear | None = None
    pieces: bool = False


def shortened(teacher: LateInteractionRanker, layers: Sequence[int]) -> LateInteractionRanker:
    """Return a ranker with some of the teacher's layers."""
    config = BertConfig(**{**teacher.encoder.bert.config.to_dict(), "num_hidden_layers": len(layers)})
    student = LateInteractionRanker(BertModel(config, add_pooling_layer=False))
    weights = teacher.state_dict()
    kept = {name: value for name, value in weights.items() if ".layer." not in name}
    for new, old in enumerate(layers):
        prefix = f"encoder.bert.encoder.layer.{old}."
        target = f"encoder.bert.encoder.layer.{new}."
        kept |= {
            target + name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
        }
    student.load_state_dict(kept)
    return student


def narrowed(
    teacher: LateInteractionRanker, layers: int, hidden: int, heads: int
) -> tuple[LateInteractionRanker, torch.nn.Linear]:
    """Return a small ranker that begins with the teacher's embeddings, projected on their principal directions."""
    old = teacher.encoder.bert
    config = BertConfig(
        **{
            **old.config.to_dict(),
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
        }
    )
    student = LateInteractionRanker(BertModel(config, add_pooling_layer=False))
    words = old.embeddings.word_embeddings.weight.detach().float()
    centre = words.mean(0)
    _, vectors = torch.linalg.eigh((words - centre).T @ (words - centre))
    axes = vectors[:, -hidden:]
    scale = 0.05 / ((words - centre) @ axes).std()
    new = student.encoder.bert.embeddings
    with torch.no_grad():
        new.word_embeddings.weight.copy_((words - centre) @ axes * scale)
        new.position_embeddings.weight.copy_(old.embeddings.position_embeddings.weight.detach().float() @ axes * scale)
        new.token_type_embeddings.weight.zero_()
    lift = torch.nn.Linear(hidden, old.config.hidden_size)
    with torch.no_grad():
        lift.weight.copy_(axes)
        lift.bias.zero_()
    return student, lift


def encoded(ranker: LateInteractionRanker, rows: Sequence[Rows], prefix: int, device: torch.device) -> Side:
    """Encode the texts of a step, in the order in which they were drawn."""
    width = max(part.ids.shape[1] for part in rows)
    columns: dict[str, list[torch.Tensor]] = {"ids": [], "hidden": [], "content": [], "mean": [], "tokens": []}
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
    back = torch.from_numpy(np.concatenate([part.places for part in rows]).argsort()).to(device)
    whole = object.__new__(Side)
    for name, values in columns.items():
        setattr(whole, name, torch.cat(values).index_select(0, back))
    return whole


@dataclass(frozen=True, slots=True)
class Opinion:
    """Output of a ranker for a step."""

    logits: torch.Tensor
    cosines: torch.Tensor
    queries: Side
    passages: Side


def opinion(ranker: LateInteractionRanker, bank: Bank, step: Step, device: torch.device) -> Opinion:
    """Return logits inside groups, shape (groups, SIZE), and cosines of every query with every passage."""
    queries = encoded(ranker, [step.queries], len(bank.prefixes["query"]), device)
    passages = encoded(ranker, step.passages, len(bank.prefixes["passage"]), device)
    rows = torch.arange(len(queries.ids), device=device).repeat_interleave(SIZE)
    return Opinion(
        ranker(queries.rows(rows), passages).view(-1, SIZE), queries.mean @ passages.mean.T, queries, passages
    )


def label_loss(student: Opinion, target: torch.Tensor | None = None) -> torch.Tensor:
    """Return the cross-entropy inside groups against a target (the answer by default), and among all passages."""
    if target is None:
        target = torch.zeros_like(student.logits)
        target[:, 0] = 1.0
    within = kl_div(student.logits.log_softmax(-1), target, reduction="batchmean")
    answers = torch.arange(len(student.logits), device=student.logits.device) * SIZE
    return within + AROUND * cross_entropy(student.cosines / TEMPERATURE, answers)


@torch.no_grad()
def opinion_of(ranker: LateInteractionRanker, bank: Bank, step: Step, device: torch.device) -> Opinion:
    """Return the output of a frozen ranker for a step."""
    return opinion(ranker, bank, step, device)


def _guard(student: Opinion, before: Opinion) -> torch.Tensor:
    kept = kl_div(student.logits.log_softmax(-1), before.logits.softmax(-1), reduction="batchmean")
    moved = states_loss(None, student.passages, before.passages) + states_loss(None, student.queries, before.queries)
    return GUARD * kept + GUARD_STATES / 2 * moved


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


def one_cycle(fraction: float, warmup: float = 0.06) -> float:
    """Return the factor of linear warm-up followed by linear decay to zero."""
    return fraction / warmup if fraction < warmup else (1 - fraction) / (1 - warmup)


class _Draws(torch.utils.data.IterableDataset[Any]):
    def __init__(self, draw: Callable[[int], Any]) -> None:
        self._draw = draw

    def __iter__(self) -> Iterator[Any]:
        about = torch.utils.data.get_worker_info()
        number, stride = (about.id, about.num_workers) if about is not None else (0, 1)
        while True:
            yield self._draw(number)
            number += stride


def draws(draw: Callable[[int], Any], workers: int) -> Iterator[Any]:
    """Yield steps made by worker processes, without end."""
    loader: Any = torch.utils.data.DataLoader(
        _Draws(draw), batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
    )
    return iter(loader)


def loop(
    name: str,
    steps: Iterator[Any],
    trained: Sequence[tuple[torch.nn.Module, list[dict[str, Any]]]],
    losses: Callable[[Any, float], dict[str, torch.Tensor]],
    seconds: float,
) -> list[dict[str, float]]:
    """Minimise the sum of losses for that many seconds.

    Returns:
        Mean losses along the way.
    """
    groups = [group for _, listed in trained for group in listed]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
    peaks = [group["lr"] for group in optimizer.param_groups]
    for module, _ in trained:
        module.train()
    began = time.perf_counter()
    curve: list[dict[str, float]] = []
    means: dict[str, torch.Tensor] = {}
    count, fraction = 0, 0.0
    while fraction < 1:
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * one_cycle(fraction)
        terms = losses(next(steps), fraction)
        torch.stack(list(terms.values())).sum().backward()
        for _, listed in trained:
            torch.nn.utils.clip_grad_norm_([p for group in listed for p in group["params"] if p.grad is not None], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        means = {k: v.detach() if k not in means else 0.95 * means[k] + 0.05 * v.detach() for k, v in terms.items()}
        count += 1
        if count % 40 == 0:
            curve.append({"step": count, "seconds": round(time.perf_counter() - began, 1)})
            curve[-1] |= {key: round(float(value), 4) for key, value in means.items()}
            if count % 200 == 0:
                log.info("%s: %s", name, curve[-1])
        fraction = min(1.0, (time.perf_counter() - began) / seconds)
    curve.append({"step": count, "seconds": round(time.perf_counter() - began, 1)})
    curve[-1] |= {key: round(float(value), 4) for key, value in means.items()}
    log.info("%s: %s", name, curve[-1])
    for module, _ in trained:
        module.eval()
    return curve


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
                taught = opinion(teacher, bank, step, device)
            terms = {} if resting else {"teacher": label_loss(taught)}
            if start is not None and not resting:
                terms["guard"] = _guard(taught, opinion_of(start, bank, step, device))
            target = (1 - GUIDED) * torch.eye(SIZE, device=device)[0] + GUIDED * taught.logits.detach().softmax(-1)
            for key, student in students.items():
                own = opinion(student.ranker, bank, step, device)
                imitated = states_loss(student.lift, own.passages, taught.passages)
                imitated = imitated + states_loss(student.lift, own.queries, taught.queries)
                terms[key] = label_loss(own, target) + STATES / 2 * imitated
        return terms

    steps = draws(lambda number: bank.step(f"{name}{number}", tokens, leave_out), workers)
    return loop(name, steps, trained, losses, seconds)


@torch.inference_mode()
def scores(
    ranker: LateInteractionRanker,
    bank: Bank,
    asked: Sequence[Asked],
    length: int,
    device: torch.device,
    texts: int = 1500,
) -> list[np.ndarray[Any, Any]]:
    """Return the logits of the candidates of queries, truncated like the product truncates pairs of `length` tokens."""
    results: list[np.ndarray[Any, Any]] = []
    at = 0
    while at < len(asked):
        end, count = at, 0
        while end < len(asked) and (end == at or count + len(asked[end].candidates) <= texts):
            count += len(asked[end].candidates)
            end += 1
        part = asked[at:end]
        queries = [bank[one.query][: length * 3 // 4] for one in part]
        rows = [len(one.candidates) for one in part]
        passages = [
            bank[number][: max(1, length - len(query) - 9)]
            for one, query in zip(part, queries, strict=True)
            for number in one.candidates
        ]
        with autocast(device):
            one_side = encoded(ranker, bank.framed(queries, "query", 1), len(bank.prefixes["query"]), device)
            other = encoded(ranker, bank.framed(passages, "passage", 6), len(bank.prefixes["passage"]), device)
            back = torch.arange(len(part), device=device).repeat_interleave(torch.tensor(rows, device=device))
            logits = torch.cat(
                [
                    ranker(
                        one_side.rows(back[i : i + 200]),
                        other.rows(torch.arange(i, min(i + 200, len(back)), device=device)),
                    )
                    for i in range(0, len(back), 200)
                ]
            )
        results += np.split(logits.float().cpu().numpy(), np.cumsum(rows)[:-1])
        at = end
    return results


def ndcg(ranked: Sequence[float], grades: Sequence[int], all_grades: Sequence[int], depth: int = 10) -> float:
    """Return nDCG with linear gain and ties by first-stage order, the definition of trec_eval."""
    order = np.argsort(-np.asarray(ranked), kind="stable")[:depth]
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    best = float((np.sort(np.asarray(all_grades))[::-1][:depth] * discounts[: min(depth, len(all_grades))]).sum())
    gained = float((np.asarray(grades)[order] * discounts[: len(order)]).sum())
    return gained / best if best > 0 else 0.0


def standardised(values: Sequence[float]) -> np.ndarray[Any, Any]:
    """Return values with mean 0 and standard deviation 1."""
    array = np.asarray(values, float)
    spread = array.std()
    result: np.ndarray[Any, Any] = (array - array.mean()) / spread if spread > 0 else array * 0
    return result


def measured(
    ranker: LateInteractionRanker,
    bank: Bank,
    packs: dict[str, list[Asked]],
    device: torch.device,
    *,
    limit: int = 100,
    length: int = 400,
    weight: float = 0.5,
) -> dict[str, dict[str, Any]]:
    """Return nDCG@10 per query of BM25, of a ranker alone, and fused with BM25."""
    report = {}
    for name, listed in packs.items():
        asked = [one for one in listed[:limit] if one.candidates]
        if not asked:
            continue
        rows = []
        for one, logits in zip(asked, scores(ranker, bank, asked, length, device), strict=True):
            both = standardised(logits.tolist()) + weight * standardised(one.first)
            rows.append([ndcg(values, one.grades, one.all_grades) for values in (one.first, logits, both)])
        bm25, alone, fused = (round(float(value), 4) for value in np.mean(rows, 0))
        report[name] = {"bm25": bm25, "alone": alone, "fused": fused, "queries": len(rows), "rows": rows}
        log.info("%s: BM25 %.3f, alone %+.3f, fused %+.3f", name, bm25, alone - bm25, fused - bm25)
    return report


def solved(ranker: LateInteractionRanker, bank: Bank, device: torch.device) -> dict[str, int]:
    """Return the number of keyword traps with the answer ranked first, by language."""
    counts = {"zh": 0, "en": 0}
    asked = [Asked(query, texts, [0.0] * len(texts), [], []) for _, query, texts, _ in bank.traps]
    for (language, _, _, answer), logits in zip(bank.traps, scores(ranker, bank, asked, 256, device), strict=True):
        counts[language] += int(int(logits.argmax()) == answer)
    return counts
