"""Benchmarks of speed and memory against common alternatives, on the same weights and the same requests."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
