"""Helpers without a subject of their own; every package may use them."""

from __future__ import annotations

__all__: list[str] = []
