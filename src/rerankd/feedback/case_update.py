"""Changes of cases: grades, state and notes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, update

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidRequestError
from rerankd.feedback.case_store import get_case, lock_case
from rerankd.feedback.cases import (
    MAX_NOTE,
    NEED_GRADES,
    STATES,
    BadCase,
    State,
    pack_case,
    validate_grades,
    validate_note,
    with_decided,
)
from rerankd.feedback.label_store import add_labels
from rerankd.feedback.labels import ANONYMOUS, validate_labeller
from rerankd.traces.store import TraceStore


def update_case(
    store: TraceStore,
    number: int,
    tenant: str | None = None,
    grades: Mapping[int, int | None] | None = None,
    state: State | None = None,
    note: str = "",
    labeller: str = ANONYMOUS,
) -> BadCase:
    """Add a labeller's grades, set the state and append a note, in one transaction.

    Args:
        store: store of the case.
        number: number of the case.
        tenant: tenant that it must belong to; None for any.
        grades: grades by position in the request: 0 for irrelevant, above for relevant, None to take one back. Earlier
            grades of other documents and of other labellers stay. An open case becomes `labelled`.
        state: new state; None keeps it.
        note: note that is appended.
        labeller: who gives the grades; `labels.decided_grade` says which count where labellers differ.

    Returns:
        The updated case.

    Raises:
        NotFoundError: there is no such case, or it is another tenant's.
        InvalidRequestError: a grade, a document, the state or the note is not valid, or `labelled` or `in_training` is
            set for a case without grades.
    """
    with translate_errors(), store.begin() as connection:
        case = lock_case(connection, number, tenant)
        validate_grades(case, grades or {})
        now = time.time()
        case = with_decided(case, add_labels(connection, case, validate_labeller(labeller), grades or {}, now))
        new_state = state or case.state
        if new_state not in STATES:
            raise InvalidRequestError(f"There is no state {new_state!r}.", hint=f"Use one of: {', '.join(STATES)}.")
        if new_state in NEED_GRADES and not case.grades:
            raise InvalidRequestError(f"Case {number} has no grades.", hint="Grade its documents first.")
        notes = "\n".join(filter(None, (case.note, validate_note(note))))[-MAX_NOTE:]
        save_case(connection, replace(case, state=new_state, note=notes), now)
    return get_case(store, number)


def save_case(connection: Connection, case: BadCase, now: float) -> None:
    """Write state, note and candidates of a case within a transaction."""
    values: dict[str, object] = {"changed": now, "state": case.state, "note": case.note}
    values["data"] = pack_case(case.query, case.candidates)
    connection.execute(update(tables.bad_case).where(tables.bad_case.c.id == case.id).values(values))


def set_state(store: TraceStore, numbers: Sequence[int], state: State) -> None:
    """Set the state of cases by number."""
    columns = tables.bad_case.c
    with translate_errors(), store.begin() as connection:
        for batch in batched(list(numbers)):
            changed = update(tables.bad_case).where(columns.id.in_(batch))
            connection.execute(changed.values(changed=time.time(), state=state))
