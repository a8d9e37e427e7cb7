"""Log of the fields that clients send and that have no effect: a line for each client and field, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from rerankd._common.logging import logger
from rerankd.server.schemas.base import BaseRequestBody
from rerankd.server.schemas.field_support import ignored_warnings, shown_name

MAX_CLIENTS = 1000
MAX_FIELDS = 20

_log = logger(__name__)


class IgnoredFieldLog:
    """Log of ignored fields that names each once for a client.

    Args:
        max_clients: clients that are remembered; the one that was seen longest ago is forgotten first.
        max_fields: fields of one client that are named; one more line says that it sends others.

    Example:
        >>> log = IgnoredFieldLog()
        >>> log.note("team-a", ["user_id", "user_id"]), log.note("team-a", ["user_id"]), log.note("team-b", ["user_id"])
        (['user_id'], [], ['user_id'])
    """

    def __init__(self, max_clients: int = MAX_CLIENTS, max_fields: int = MAX_FIELDS) -> None:
        self._max_clients, self._max_fields = max_clients, max_fields
        self._named: OrderedDict[str, set[str]] = OrderedDict()
        self._lock = threading.Lock()  # a large job is read in a thread

    def note(self, client: str, names: Iterable[str]) -> list[str]:
        """Log the fields that this client has not sent yet, and return their names.

        Args:
            client: id of the API key's tenant, or the client's address; empty for a client without either.
            names: names of the fields.
        """
        with self._lock:
            new = self._remember(client, names)
        for name in new:
            _log.warning("%s sends the field %s, which has no effect", client or "a client", shown_name(name))
        return new

    def _remember(self, client: str, names: Iterable[str]) -> list[str]:
        named = self._named.setdefault(client, set())
        self._named.move_to_end(client)
        if len(self._named) > self._max_clients:
            self._named.popitem(last=False)
        new: list[str] = []
        for name in (name[:200] for name in names):
            if name in named or len(named) > self._max_fields:
                continue
            named.add(name)
            if len(named) > self._max_fields:
                _log.warning("%s sends more than %d fields without effect", client or "a client", self._max_fields)
            else:
                new.append(name)
        return new


ignored_field_log = IgnoredFieldLog()
"""The log of this process."""


class WarningCollector:
    """Warnings about the requests of one call, each once, `MAX_FIELDS` at most.

    Args:
        names: names of ignored fields beside the requests.

    Attributes:
        names: names of all ignored fields.
        warnings: the warnings.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = list(names)[:MAX_FIELDS]
        self.warnings = ignored_warnings(self.names)

    def add(self, body: BaseRequestBody) -> None:
        """Add the warnings of a request."""
        for warning in body.warnings:
            if warning not in self.warnings and len(self.warnings) < MAX_FIELDS:
                self.warnings.append(warning)
        for name in body.ignored_fields:
            if name not in self.names and len(self.names) < MAX_FIELDS:
                self.names.append(name)
