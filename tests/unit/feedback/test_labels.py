from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.feedback.labels import MAX_LABELLER, Label, decided_grade, decided_grades, validate_labeller


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ({}, None),
        ({"Ann": 2}, 2),
        ({"Ann": 3, "Bo": 0}, 0),
        ({"Ann": 3, "Bo": 0, "Cy": 2}, 2),
        ({"Ann": 3, "Bo": 0, "Cy": 2, "Di": 3}, 2),
        ({"": 3}, 3),
        ({"": 3, "Ann": 0}, 0),
    ],
)
def test_the_grade_that_counts(grades: dict[str, int], expected: int | None) -> None:
    assert decided_grade(grades) == expected
    assert decided_grade(dict(reversed(grades.items()))) == expected


def test_each_document_is_decided_by_itself() -> None:
    labels = [Label(0, "Ann", 3, 1.0), Label(1, "Ann", 1, 1.0), Label(0, "Bo", 1, 2.0)]
    assert decided_grades(labels) == {0: 1, 1: 1}


@pytest.mark.parametrize("name", ["x" * (MAX_LABELLER + 1), "a\0b", "a\nb", "\x1b[31m", "\u202egnp"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="name"):
        validate_labeller(name)


def test_names_in_any_script() -> None:
    assert validate_labeller(" 李伟 ") == "李伟"
