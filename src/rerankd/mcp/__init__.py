"""MCP server: the tools `rerank`, `search` and `ask`, and the passages of the index as resources, for agents."""

from __future__ import annotations

__all__: list[str] = []
