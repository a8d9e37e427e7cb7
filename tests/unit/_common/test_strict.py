from __future__ import annotations

import pytest

from rerankd._common.instruction import IGNORED
from rerankd._common.strict import check_strict
from rerankd.errors import UnsupportedFieldError


def test_nothing_is_refused_without_a_warning() -> None:
    check_strict([])


@pytest.mark.parametrize(
    ("warnings", "field", "message"),
    [
        ([IGNORED], "instruction", "instruction is not read by this model."),
        (["kwargs.batch is not supported here and was ignored"], "kwargs.batch", "kwargs.batch is not supported here."),
        (["model 'x' is unknown; 'mini' was used"], "model", "model 'x' is unknown."),
        (["priority 5000 is not within 0 to 999; 999 was used"], "priority", "priority 5000 is not within 0 to 999."),
        (
            ["truncate_prompt_tokens is below 8 and was raised"],
            "truncate_prompt_tokens",
            "truncate_prompt_tokens is below 8.",
        ),
        (["a is unknown and was ignored", "b is unknown and was ignored"], "a", "a is unknown; b is unknown."),
        (["'' is unknown and was ignored"], "", "'' is unknown."),
    ],
)
def test_the_error_names_the_field_and_not_what_would_have_been_done(
    warnings: list[str], field: str, message: str
) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        check_strict(warnings)
    assert (caught.value.message, caught.value.field, caught.value.status) == (message, field, 422)
    assert caught.value.hint.endswith("send strict: false.")
