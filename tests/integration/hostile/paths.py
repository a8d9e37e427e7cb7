"""Paths that rank or score."""

from __future__ import annotations

RERANK_PATHS = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/infinity/rerank"]

POST_PATHS = [*RERANK_PATHS, "/voyage/v1/rerank", "/", "/invocations", "/score", "/v1/score"]
