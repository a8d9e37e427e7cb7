"""Statistical significance: paired permutation test, and Holm's correction for multiple comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SAMPLES = 10_000
SEED = 20_260_102
ALPHA = 0.05
_CELLS = 4_000_000  # size of a block of signs: bounds memory
_TOLERANCE = 1e-12

Values = npt.NDArray[np.float64]


def permutation_test(differences: Values, *, samples: int = SAMPLES, seed: int = SEED) -> float:
    """Return the p-value of a two-sided paired permutation test of the mean difference.

    Under the null hypothesis the sign of each difference is random (Fisher 1935; Smucker, Allan and Carterette 2007).
    If there are at most `samples` assignments of signs, all are enumerated and the p-value is exact. Otherwise
    `samples` random assignments are drawn and the observed one is added, so that the p-value is never 0 (Phipson and
    Smyth 2010).

    Args:
        differences: after minus before, shape (queries,); zeros have no effect.
        samples: maximum number of sign assignments.
        seed: seed of the random generator.

    Returns:
        Probability, under the null hypothesis, of a mean at least as far from 0; 1.0 if all differences are 0.

    Example:
        >>> permutation_test(np.array([1.0, 2.0, 3.0, 0.0]))
        0.25
    """
    nonzero = differences[differences != 0]
    if nonzero.size == 0:
        return 1.0
    observed = abs(float(nonzero.sum())) - _TOLERANCE * float(np.abs(nonzero).sum())
    if nonzero.size < 63 and 2**nonzero.size <= samples:
        flips = np.arange(2**nonzero.size)[:, None] >> np.arange(nonzero.size) & 1
        return float((np.abs((1 - 2 * flips) @ nonzero) >= observed).mean())
    generator = np.random.default_rng(seed)
    total, extreme, rows = float(nonzero.sum()), 0, max(1, _CELLS // nonzero.size)
    for start in range(0, samples, rows):
        block = min(rows, samples - start)
        bits = np.frombuffer(generator.bytes(-(-block * nonzero.size // 8)), dtype=np.uint8)
        flipped = np.unpackbits(bits)[: block * nonzero.size].reshape(block, nonzero.size)
        sums = total - 2 * (flipped @ nonzero)
        extreme += int((np.abs(sums) >= observed).sum())
    return (1 + extreme) / (1 + samples)


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Adjust p-values by Holm's step-down method (Holm 1979), which controls the family-wise error rate.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return tuple(adjusted)
