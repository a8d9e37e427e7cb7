from __future__ import annotations

from rerankd.server.routes.batch import item_id


def test_the_id_of_a_ranking_is_that_of_its_call_with_its_number() -> None:
    assert [item_id("call", position) for position in range(2)] == ["call.0", "call.1"]
