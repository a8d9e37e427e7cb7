"""MCP server: the tools `rerank`, `search` and `ask`, and the passages of the index as resources, for agents."""
