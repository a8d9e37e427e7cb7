"""Parts of a batch, computed side by side where a part alone does not keep all cores at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rerankd.scoring.backend import Backend

Part = TypeVar("Part")
Result = TypeVar("Result")


class Lanes:
    """Computes parts with a backend: at least as many as it has lanes side by side, one core each; fewer in turn.

    Args:
        backend: what computes; see `Backend.lanes`.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pool = ThreadPoolExecutor(backend.lanes, thread_name_prefix="lane") if backend.lane else None

    def each(self, compute: Callable[[Backend, Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Results in the order of the parts; the first failure is raised, and parts that have not begun are left out.

        Args:
            compute: called with the backend to use and a part.
            parts: what is to be computed.
        """
        lane = self._backend.lane
        if lane is None or self._pool is None or len(parts) < self._backend.lanes:
            return (compute(self._backend, part) for part in parts)
        return self._pool.map(lambda part: compute(lane, part), parts)
