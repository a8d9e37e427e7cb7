"""One admission decision for several requests that are queued one after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class BatchAdmission:
    """Room in an engine's queue that was admitted for several requests; the engine holds its lock around every call.

    Attributes:
        room: rooms of the same engine, which count as queued until they are taken or given back.
        tokens: tokens that no request has taken yet.
    """

    room: AdmittedRoom
    tokens: int

    def take(self, tokens: int) -> None:
        """Give room to a request that is queued now; the estimate of its tokens may have changed meanwhile."""
        taken = min(tokens, self.tokens)
        self.tokens -= taken
        self.room.tokens -= taken

    def release(self) -> None:
        """Give back what was not taken."""
        self.take(self.tokens)


@dataclass(eq=False, slots=True)
class AdmittedRoom:
    """Tokens that an engine has admitted for requests that are not queued yet.

    Example:
        >>> room = AdmittedRoom()
        >>> admission = room.admit(100)
        >>> admission.take(30)
        >>> room.tokens
        70
    """

    tokens: int = 0

    def admit(self, tokens: int) -> BatchAdmission:
        """Count tokens as admitted."""
        self.tokens += tokens
        return BatchAdmission(self, tokens)
