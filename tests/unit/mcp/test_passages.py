from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import NotFoundError
from rerankd.mcp.passages import MAX_URI, PREFIX, passage_id, passage_uri


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_an_address_leads_back_to_its_passage(identity: str) -> None:
    assert passage_uri(identity).isascii()
    assert passage_id(passage_uri(identity)) == identity


@pytest.mark.parametrize("uri", ["", PREFIX, "file:///etc/passwd", PREFIX + "a" * MAX_URI])
def test_other_addresses_are_none_of_a_passage(uri: str) -> None:
    with pytest.raises(NotFoundError, match="There is no resource"):
        passage_id(uri)
