"""A trace as those see it from whom rules hid some of its documents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rerankd.traces.store import FullTrace


def shown_part(full: FullTrace) -> FullTrace:
    """Return a trace without the documents that rules hid; ranks count the others from 1 as before.

    Args:
        full: the trace.
    """
    candidates = full.candidates
    if candidates.shown.all():
        return full
    kept = np.flatnonzero(candidates.shown).tolist()
    return replace(
        full,
        trace=replace(full.trace, documents=len(kept)),
        candidates=candidates.part(kept),
        texts=tuple(full.texts[position] for position in kept),
    )
