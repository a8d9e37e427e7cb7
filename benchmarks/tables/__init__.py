"""Markdown tables made from the result files, for the READMEs, the documents and the model card."""

from __future__ import annotations

from benchmarks.tables.markdown import fill
from benchmarks.tables.operation import failover, jobs, sizing, traces
from benchmarks.tables.performance import causal_speed, families_speed, server, speed
from benchmarks.tables.relevance import improve, quality, retrieval, rules, transfer

__all__ = [
    "causal_speed",
    "failover",
    "families_speed",
    "fill",
    "improve",
    "jobs",
    "quality",
    "retrieval",
    "rules",
    "server",
    "sizing",
    "speed",
    "traces",
    "transfer",
]
