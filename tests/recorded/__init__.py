"""Behaviour on fixed inputs: recorded once, and compared on every run by `tests/e2e/test_recorded.py`."""
