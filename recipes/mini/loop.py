"""The training loop: steps sampled by worker processes, losses minimised for a number of seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

log = logging.getLogger("recipe")


def one_cycle(fraction: float, warmup: float = 0.06) -> float:
    """Return the factor of linear warm-up followed by linear decay to zero."""
    return fraction / warmup if fraction < warmup else (1 - fraction) / (1 - warmup)


class _Draws(torch.utils.data.IterableDataset[Any]):
    def __init__(self, draw: Callable[[int], Any]) -> None:
        self._draw = draw

    def __iter__(self) -> Iterator[Any]:
        worker_info = torch.utils.data.get_worker_info()
        number, stride = (worker_info.id, worker_info.num_workers) if worker_info is not None else (0, 1)
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
        means |= {k: v.detach() if k not in means else 0.95 * means[k] + 0.05 * v.detach() for k, v in terms.items()}
        count += 1
        if count % 40 == 0:
            curve.append({"step": count, "seconds": round(time.perf_counter() - began, 1)})
            curve[-1] |= {key: round(float(value), 4) for key, value in means.items()}
            log.info("%s: %s", name, curve[-1])
        fraction = min(1.0, (time.perf_counter() - began) / seconds)
    curve.append({"step": count, "seconds": round(time.perf_counter() - began, 1)})
    curve[-1] |= {key: round(float(value), 4) for key, value in means.items()}
    log.info("%s: %s", name, curve[-1])
    for module, _ in trained:
        module.eval()
    return curve
