from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.feedback.events import read_csv


@pytest.fixture
def longest_cell() -> Iterator[None]:
    """Set Python's own limit, which the whole process shares and which reading other files raises."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("longest_cell")
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("r1,click,x,,", "Line 2: index 'x' is not a whole number"),
        ("r1,click,-1,,", "Line 2: index '-1' is not"),
        ("r1,click,1e30,,", "Line 2: index '1e30' is not"),
        ("r1,grade,1,much,", "Line 2: value 'much' is not a number"),
        ("r1,click,1,,yesterday", "Line 2: time 'yesterday' is neither"),
        ("r1,click,1,,0001-01-01T00:00:00+99:00", "Line 2: time"),
        (f"r1,click,1,{'9' * 200_000},", "Line 2: not CSV"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(row: str, message: str) -> None:
    with pytest.raises(InvalidInputFileError, match=message):
        list(read_csv(io.StringIO(f"request_id,kind,index,value,time\n{row}\n")))


@pytest.mark.parametrize(
    "content", [b"\xff\xfer\x00e\x00", "request_id,kind,index\nr1,click,1\nr\u00e9,click,2\n".encode("latin-1")]
)
def test_a_file_in_another_encoding_is_named_as_such(content: bytes) -> None:
    with pytest.raises(InvalidInputFileError, match="not UTF-8"):
        list(read_csv(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig")))
