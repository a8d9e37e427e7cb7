"""One thread, as for the small models of the unit tests."""

from tests.unit.training.conftest import one_thread

__all__ = ["one_thread"]
