from __future__ import annotations

import pytest

from rerankd._common.instruction import check_instruction
from rerankd.errors import InvalidRequestError
from rerankd.types import MAX_INSTRUCTION


@pytest.mark.parametrize("blank", [None, "", "  \n\t"])
def test_a_blank_instruction_is_none(blank: str | None) -> None:
    assert check_instruction(blank) is None


def test_an_instruction_is_passed_on_as_it_is() -> None:
    longest = "令" * MAX_INSTRUCTION
    assert check_instruction(longest) == longest
    assert check_instruction(" Retrieve. ") == " Retrieve. "
    assert check_instruction("a\ud800") == "a\ufffd"


@pytest.mark.parametrize("wrong", ["x" * (MAX_INSTRUCTION + 1), 7, ["Retrieve."], b"Retrieve."])
def test_what_is_no_instruction_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidRequestError, match="^The instruction "):
        check_instruction(wrong)
