"""Values that a list of traces can be filtered by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from rerankd.database import tables
from rerankd.traces.store import TraceFilter, TraceStore

NEWEST = 10_000


@dataclass(frozen=True, slots=True)
class TraceFacets:
    """Values that occur in traces, sorted.

    Attributes:
        tenants: ids of tenants.
        models: names of models.
        versions: versions with the names of their models.
        experiments: names of experiments.
        variants: variants of experiments.
    """

    tenants: tuple[str, ...]
    models: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    experiments: tuple[str, ...]
    variants: tuple[str, ...]


def read_facets(store: TraceStore, tenant: str | None = None, *, newest: int = NEWEST) -> TraceFacets:
    """Return the values that occur in the newest traces.

    Args:
        store: store of the traces.
        tenant: tenant whose traces count; None for all.
        newest: number of traces that are looked at.
    """
    columns = tables.trace.c
    names = [columns.tenant, columns.model, columns.version, columns.experiment, columns.arm]
    recent = TraceFilter(tenant=tenant).apply(select(*names)).order_by(columns.time.desc()).limit(newest).subquery()
    with store.connect() as connection:
        rows = connection.execute(select(recent).distinct()).all()
    return TraceFacets(
        tenants=_sorted(row.tenant for row in rows),
        models=_sorted(row.model for row in rows),
        versions=tuple(sorted({(row.version, row.model) for row in rows if row.version})),
        experiments=_sorted(row.experiment for row in rows),
        variants=_sorted(row.arm for row in rows),
    )


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))
