from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.ranking.priority import check_priority, priority_warnings, served_priority
from rerankd.ranking.requests import build_request
from rerankd.types import RerankRequest


@pytest.mark.parametrize("priority", [-1, 1000, True, 1.0, "0"])
def test_what_is_no_priority_is_refused(priority: Any) -> None:
    with pytest.raises(InvalidRequestError, match="Pass an integer from 0, the most urgent, to 999"):
        check_priority(priority)
    with pytest.raises(InvalidRequestError):
        build_request("q", [], priority=priority)


@pytest.mark.parametrize(
    ("asked", "best", "served", "warns"),
    [(None, 0, 0, False), (None, 7, 7, False), (7, 7, 7, False), (9, 7, 9, False), (3, 7, 7, True), (0, 0, 0, False)],
)
def test_a_request_is_served_within_the_right_of_its_key(
    asked: int | None, best: int, served: int, warns: bool
) -> None:
    request = RerankRequest("q", [], priority=asked, best_priority=best)
    assert served_priority(request) == served
    assert bool(priority_warnings(request)) is warns
