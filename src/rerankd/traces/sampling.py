"""Sampling of rankings to trace, by tenant."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from rerankd.types import RankingRecord

EVERYONE = "*"


def is_sampled(ranking: RankingRecord, rates: Mapping[str, float]) -> bool:
    """Return True if a ranking is to be traced; the same request id always gives the same answer.

    Args:
        ranking: the ranking.
        rates: share of the rankings to trace, 0 to 1, by tenant; `*` for all other tenants, which is 1 by default.
    """
    rate = rates.get(ranking.request.tenant, rates.get(EVERYONE, 1.0))
    if rate >= 1.0:
        return True
    name = ranking.request.request_id or f"{ranking.time}{ranking.request.query}"
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) < rate * 2**32
