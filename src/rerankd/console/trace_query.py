"""Address of the page of traces: what its parameters select, and the addresses of the same list in another way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rerankd.console.visitor import Visitor
from rerankd.server.paths import CONSOLE
from rerankd.traces.pages import MAX_CURSOR, Cursor, Order
from rerankd.traces.store import TraceFilter

PERIODS = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0}
MAX_SEARCH = 500
NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores none
MINUTES = "%Y-%m-%dT%H:%M"
PLACE = frozenset({"page", "replay"})
"""Parameters that do not change which traces are listed."""

Name = Annotated[str, Field(max_length=200, pattern=NO_NUL)]


class TraceQuery(BaseModel):
    """Parameters of the page; those that are absent select everything."""

    model_config = ConfigDict(hide_input_in_errors=True)

    period: Literal["hour", "day", "week"] | None = None
    since: datetime | None = None
    until: datetime | None = None
    tenant: Name | None = None
    model: Name | None = None
    version: Name | None = None
    experiment: Name | None = None
    variant: Name | None = None
    feedback: bool = False
    case: bool = False
    q: Annotated[str, Field(max_length=MAX_SEARCH, pattern=NO_NUL)] | None = None
    order: Order = "newest"
    page: Annotated[str, Field(max_length=MAX_CURSOR)] | None = None
    replay: Name | None = None

    @field_validator("since", "until")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        try:
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        except OverflowError:
            raise ValueError("the time is out of range") from None

    def select(self, visitor: Visitor, now: float) -> TraceFilter:
        """Return the conditions on traces: what the visitor may see, and what they ask for.

        A time range that is given in full takes the place of a period.

        Args:
            visitor: the visitor.
            now: seconds since 1970.
        """
        since = None if self.since is None else self.since.timestamp()
        until = None if self.until is None else self.until.timestamp()
        if self.period is not None and not self.has_range:
            since = now - PERIODS[self.period]
        return TraceFilter(
            tenant=visitor.tenant if visitor.tenant is not None else self.tenant,
            since=since,
            until=until,
            model=self.model,
            version=self.version,
            experiment=self.experiment,
            variant=self.variant,
            search=self.q,
            has_feedback=self.feedback or None,
            has_case=self.case or None,
        )

    @property
    def has_range(self) -> bool:
        """True if a time is given that the list starts or ends at."""
        return self.since is not None or self.until is not None

    @property
    def cursor(self) -> Cursor | None:
        """Place in the list.

        Raises:
            InvalidRequestError: no page has this place.
        """
        return None if self.page is None else Cursor.parse(self.page)

    def shown(self, visitor: Visitor) -> dict[str, Any]:
        """Return the parameters as the form shows them."""
        values = self.model_dump(exclude={"page"})
        return values | {
            "period": None if self.has_range else self.period,
            "since": _minutes(self.since),
            "until": _minutes(self.until),
            "tenant": self.tenant if visitor.is_admin else None,
        }

    def address(self, **changes: object) -> str:
        """Return the address of the list with other parameters; None leaves one out."""
        values = self.model_dump(mode="json", exclude_defaults=True) | changes
        given = {name: "1" if value is True else value for name, value in values.items() if value not in (None, False)}
        return f"{CONSOLE}/traces" + (f"?{urlencode(given)}" if given else "")

    @property
    def is_filtered(self) -> bool:
        """True if not all traces are listed."""
        return bool(set(self.model_dump(exclude_defaults=True)) - PLACE - {"order"})


def _minutes(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).strftime(MINUTES)
