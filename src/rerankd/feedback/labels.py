"""Labels: the grade that a person gives to a document of a case, each labeller for themselves.

The grade of a candidate, which exports, the API and the command line read, follows from the labels on it by
`decided_grade` and by nothing else. Feedback of users (`judgements`) is no label: exports use its grades and thumbs
where nobody labelled the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError

GRADES = (0, 1, 2, 3)
"""Grades that pages offer; the command line and the API take any up to `events.MAX_GRADE`."""
POOL_DEPTH = 10
MAX_LABELLER = 200
ANONYMOUS = ""
"""Labeller of grades from before labels had one, and of requests without a key."""


@dataclass(frozen=True, slots=True)
class Label:
    """A grade that somebody gave to a document.

    Attributes:
        position: position of the document in the request, from 0.
        labeller: name of the person or the API key; `ANONYMOUS` if it is not known.
        grade: relevance grade, from 0.
        time: seconds since 1970.
    """

    position: int
    labeller: str
    grade: int
    time: float


def validate_labeller(name: str) -> str:
    """Return the name of a labeller without white space around it.

    Raises:
        InvalidRequestError: it is too long, or holds characters that cannot be printed.

    Example:
        >>> validate_labeller(" Li Wei ")
        'Li Wei'
    """
    stripped = name.strip()
    if len(stripped) > MAX_LABELLER or not stripped.isprintable():
        raise InvalidRequestError(
            f"The labeller's name is longer than {MAX_LABELLER} characters, or cannot be printed.",
            hint="Use a short name, such as Li Wei.",
        )
    return stripped


def decided_grade(grades: Mapping[str, int]) -> int | None:
    """Return the grade that counts of those that labellers gave to one document; None if there is none.

    It is the median: one labeller of three cannot move it, and it does not depend on who labelled last. Of an even
    number of grades the lower of the middle two counts, because a document that one of two people holds to be
    irrelevant should not be what a model is trained to put first. Who settles a disagreement changes a grade of their
    own, or asks a third labeller. Anonymous grades count only where nobody with a name graded the document: no one
    could change them.

    Args:
        grades: grades by labeller.

    Example:
        >>> decided_grade({"Ann": 3, "Bo": 1}), decided_grade({"Ann": 3, "Bo": 1, "Cy": 2})
        (1, 2)
        >>> decided_grade({"": 0, "Ann": 3}), decided_grade({})
        (3, None)
    """
    named = [grade for labeller, grade in grades.items() if labeller != ANONYMOUS]
    counted = sorted(named or grades.values())
    return counted[(len(counted) - 1) // 2] if counted else None


def decided_grades(labels: Iterable[Label]) -> dict[int, int]:
    """Return the grades that count, by position, of the present labels on a ranking.

    Example:
        >>> decided_grades([Label(4, "Ann", 3, 0.0), Label(4, "Bo", 2, 0.0), Label(0, "Bo", 0, 0.0)])
        {4: 2, 0: 0}
    """
    by_position: dict[int, dict[str, int]] = {}
    for label in labels:
        by_position.setdefault(label.position, {})[label.labeller] = label.grade
    decided = {position: decided_grade(grades) for position, grades in by_position.items()}
    return {position: grade for position, grade in decided.items() if grade is not None}
