"""Markdown tables from the result files, for README, docs and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def speed() -> str:
    """Ratios, rates, share of peak and memory of the last `make bench`."""
    report = _read("cpu.json")
    rows = [
        [
            {"mini": "6 x 384", "base": "12 x 768", "m3": "24 x 1024"}[row["shape"]],
            row["contender"],
            f"**{row['ratio']:.1f} x**",
            f"{row['pairs_per_second']:.1f}",
            f"{row['tokens_per_second']:,}",
            f"{row['share_of_peak']:.0%}" if row.get("share_of_peak") else "",
            f"{row['peak_megabytes']:,} MB",
        ]
        for row in report["rows"]
    ]
    head = ["shape", "", "ratio", "pairs/s", "tokens/s", "share of peak", "peak memory"]
    return f"{_table(head, rows)}\n\n{_conditions(report)}"


def _conditions(report: dict[str, Any]) -> str:
    machine, first = report["machine"], report["rows"][0]
    packages = machine["packages"]
    peaks = " and ".join(f"{rate} GFLOP/s ({name})" for name, rate in report["peak_gflops"].items())
    lines = [
        f"{machine['processor']} ({', '.join(machine['flags'])}), {machine['threads']} threads, "
        f"fp32 matrix-product peak {peaks}, the higher is 100 %; "
        f"{report['requests']} requests of {report['documents']} documents, one after the other, "
        f"{first['tokens_per_pair']} tokens per pair, max length 512; random weights in XLM-R's shapes; "
        f"onnxruntime {packages['onnxruntime']}, torch {packages['torch']}, "
        f"sentence-transformers {packages['sentence-transformers']} (batch 32). `make bench`.",
    ]
    for row in report.get("single_pair", []):
        lines.append(
            f"v2-m3's shape, one pair of {row['tokens']} tokens, {row['precision']}: {row['p50_ms']} ms "
            f"(worst of ten {row['max_ms']} ms), {row['file_megabytes']:,} MB on disk."
        )
    if memory := report.get("memory"):
        for precision in ("fp32", "int8"):
            seen = ", ".join(f"{mb:.0f} MB after {key.rpartition('_')[2]}" for key, mb in memory[precision].items())
            lines.append(f"Peak memory over {memory['requests']:,} requests of changing length, {precision}: {seen}.")
    return "\n".join(f"- {line}" for line in lines)


def quality() -> str:
    """`mini` against BM25 on held-out documents of every pack."""
    rows = [
        [
            row["pack"],
            str(row["queries"]),
            f"{row['bm25 nDCG@10']:.3f}",
            f"{row['mini nDCG@10']:.3f}",
            f"{row['delta']:+.3f} [{row['interval'][0]:+.3f}, {row['interval'][1]:+.3f}]",
            f"{row['bm25 RR@10']:.3f}",
            f"{row['mini RR@10']:.3f}",
        ]
        for row in _read("mini.json")
    ]
    return _table(
        ["pack", "queries", "BM25 nDCG@10", "mini nDCG@10", "difference [95 %]", "BM25 RR@10", "mini RR@10"], rows
    )


def fill(text: str, name: str, content: str) -> str:
    """Put `content` between `<!-- name -->` and `<!-- /name -->`."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, found, rest = text.partition(start)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"There are no markers for {name!r}.")
    return f"{head}{start}{content}\n{end}{tail}"
