"""Full garbage collections of the server process, kept short.

A full collection looks at every object of the modules, routes and templates that the process has loaded, and halts all
requests for a tenth of a second. What has survived one is moved aside, where later ones do not look.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping
from typing import Any

FULL = 2  # the oldest generation
TIMES = 20  # by then, everything that is loaded at first use has been; later survivors may be garbage one day


def keep_collections_short(times: int = TIMES) -> Callable[[], None]:
    """Move aside what survives each of the next full collections.

    Args:
        times: number of collections.

    Returns:
        Function that ends it earlier.
    """
    left = times

    def end() -> None:
        with contextlib.suppress(ValueError):  # it has ended
            gc.callbacks.remove(collected)

    def collected(phase: str, info: Mapping[str, Any]) -> None:
        nonlocal left
        if phase == "stop" and info["generation"] == FULL:
            gc.freeze()
            left -= 1
            if left == 0:
                end()

    gc.callbacks.append(collected)
    return end
