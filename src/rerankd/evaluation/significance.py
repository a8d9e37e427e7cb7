"""Whether a difference is more than chance: paired permutation test, and Holm's correction for several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SAMPLES = 10_000
SEED = 20_260_102
ALPHA = 0.05
_CELLS = 4_000_000  # of one block of signs: bounds memory
_TOLERANCE = 1e-12

Values = npt.NDArray[np.float64]


def permutation_test(differences: Values, *, samples: int = SAMPLES, seed: int = SEED) -> float:
    """Two-sided paired permutation test of the mean difference (Fisher 1935; Smucker, Allan and Carterette 2007).

    Without an effect each difference might as well have the other sign. Where there are at most `samples` ways to
    flip the signs, all of them are tried and the value is exact; otherwise `samples` random ones are, and the observed
    one is counted among them, so that the value is never 0 (Phipson and Smyth 2010).

    Args:
        differences: after minus before, one per query; zeros change nothing and are left out.
        samples: random flips.
        seed: the same seed gives the same value.

    Returns:
        The probability of a mean at least as far from 0 by chance; 1.0 where nothing differs.

    Example:
        >>> permutation_test(np.array([1.0, 2.0, 3.0, 0.0]))
        0.25
    """
    moved = differences[differences != 0]
    if moved.size == 0:
        return 1.0
    observed = abs(float(moved.sum())) - _TOLERANCE * float(np.abs(moved).sum())
    if moved.size < 63 and 2**moved.size <= samples:
        flips = np.arange(2**moved.size)[:, None] >> np.arange(moved.size) & 1
        return float((np.abs((1 - 2 * flips) @ moved) >= observed).mean())
    generator = np.random.default_rng(seed)
    total, extreme, rows = float(moved.sum()), 0, max(1, _CELLS // moved.size)
    for start in range(0, samples, rows):
        block = min(rows, samples - start)
        bits = np.frombuffer(generator.bytes(-(-block * moved.size // 8)), dtype=np.uint8)
        flipped = np.unpackbits(bits)[: block * moved.size].reshape(block, moved.size)
        sums = total - 2 * (flipped @ moved)
        extreme += int((np.abs(sums) >= observed).sum())
    return (1 + extreme) / (1 + samples)


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction (Holm 1979): the chance of any false alarm among all tests stays under alpha.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return tuple(adjusted)
