"""One training loop for every stage: a compute budget, a one-cycle rate, checkpoints that resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

log = logging.getLogger("recipe")
CHECKPOINT_SECONDS = 150.0


def device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> AbstractContextManager[object]:
    """bfloat16 matrix products where the hardware has them; parameters stay float32."""
    return torch.autocast(device().type, torch.bfloat16)


class Budget:
    """Compute spent, in minutes of the whole machine: process time over threads on a CPU, wall time on CUDA.

    Process time does not count what other programs take, so a busy machine trains longer, not less.
    """

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.seconds = minutes * 60
        self._base = spent
        self._started = self._now()

    @staticmethod
    def _now() -> float:
        return time.perf_counter() if torch.cuda.is_available() else time.process_time() / torch.get_num_threads()

    @property
    def spent(self) -> float:
        """Seconds spent, earlier tries counted in."""
        return self._base + self._now() - self._started

    @property
    def fraction(self) -> float:
        """Share of the budget spent, 0 to 1."""
        return min(1.0, self.spent / self.seconds)


def one_cycle(fraction: float, warmup: float = 0.06) -> float:
    """Linear warm-up, then linear decay to zero; `fraction` of the budget in, factor of the peak rate out."""
    return fraction / warmup if fraction < warmup else (1 - fraction) / (1 - warmup)


def train(
    name: str,
    module: torch.nn.Module,
    groups: Iterable[dict[str, object]],
    loss_of: Callable[[int, float], torch.Tensor],
    *,
    minutes: float,
    work: Path,
    computing: torch.nn.Module | None = None,
) -> None:
    """Run steps until the budget is spent; `loss_of(step, fraction)` gives the loss of a fresh batch.

    The state is written to `work/NAME.ckpt` every few minutes and taken up from there. `computing` is a bfloat16 copy
    of `module` that `loss_of` uses: gradients go from it to `module`, weights come back, nothing is cast in between.
    """
    optimizer = torch.optim.AdamW(list(groups), weight_decay=0.01, fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    checkpoint = work / f"{name}.ckpt"
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
        log.info("%s: resumed at step %d, %.1f min", name, step, spent / 60)
    budget = Budget(minutes, spent)
    saved, mean = budget.spent, None
    module.train()
    twins = list(zip(module.parameters(), computing.parameters(), strict=True)) if computing is not None else []
    _hand_down(twins)
    twins = [(parameter, twin) for parameter, twin in twins if parameter.requires_grad]
    while budget.fraction < 1:
        fraction = budget.fraction
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * one_cycle(fraction)
        loss = loss_of(step, fraction)
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter, twin in twins:
            parameter.grad = None if twin.grad is None else twin.grad.float()
            twin.grad = None
        torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        _hand_down(twins)
        step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 20 == 0:
            log.info("%s: step %d, %.1f of %.1f min, loss %.4f", name, step, budget.spent / 60, minutes, mean)
        if budget.spent - saved > CHECKPOINT_SECONDS:
            saved = budget.spent
            state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "spent": saved}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    module.eval()


@torch.no_grad()
def _hand_down(twins: list[tuple[torch.nn.Parameter, torch.nn.Parameter]]) -> None:
    for parameter, twin in twins:
        twin.copy_(parameter)
