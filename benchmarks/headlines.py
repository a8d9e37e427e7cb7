"""The two headline figures of the READMEs: speed against sentence-transformers, and latency under mixed load."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import RESULTS

_TEXTS = {
    "en": (
        "- **Speed**: int8 scores **{small_peer_ratio:.1f} times** as many pairs per second as the fastest peer",
        "  ({small_peer}), and {small_ratio:.0f} times as many as sentence-transformers in fp32, with a 6-layer,",
        "  384-dimensional model; **{base_peer_ratio:.1f} times** ({base_peer}) and {base_ratio:.0f} times with",
        "  12 layers and 768 dimensions. {processor}, {threads} threads, one client, {documents} documents per",
        "  request, {tokens:.0f} tokens per pair. `make bench`",
        "- **Fairness**: while {clients} clients keep sending requests of {large} documents, requests of {small}",
        "  documents have a p95 latency of **{fair:,.0f} ms** (with a plain queue: {fcfs:,.0f} ms). Model: 6",
        "  layers, width 384, int8; {characters} characters per document, {server_processor}, {server_threads}",
        "  threads. `make bench BENCH_FLAGS=--only-server`",
    ),
    "zh": (
        "- **速度**：int8 的吞吐量是最快的同类（{small_peer}）的 **{small_peer_ratio:.1f} 倍**、",
        "  sentence-transformers（fp32）的 {small_ratio:.0f} 倍（6 x 384 模型）；12 x 768 模型为",
        "  **{base_peer_ratio:.1f} 倍**（{base_peer}）和 {base_ratio:.0f} 倍。{processor}，{threads} 线程，",
        "  一个客户端，每个请求 {documents} 篇文档，每对 {tokens:.0f} 个 token。`make bench`",
        "- **公平**：{clients} 个客户端不停发送 {large} 篇文档的请求时，只含 {small} 篇文档的请求 p95 延迟为",
        "  **{fair:,.0f} ms**（用普通队列：{fcfs:,.0f} ms）。模型：6 层，宽 384，int8；每篇 {characters} 个字符，",
        "  {server_processor}，{server_threads} 线程。`make bench BENCH_FLAGS=--only-server`",
    ),
}


def headlines(language: str) -> str:
    """Return both figures as Markdown list items.

    Args:
        language: `en` or `zh`.
    """
    report = json.loads((RESULTS / "cpu.json").read_text(encoding="utf-8"))
    ours, peers = dict[str, dict[str, Any]](), dict[str, dict[str, Any]]()
    for row in report["rows"]:
        kept = ours if row["contender"].startswith("rerankd") else peers
        if row["shape"] not in kept or row["ratio"] > kept[row["shape"]]["ratio"]:
            kept[row["shape"]] = row
    fairness, served_on = report["server"]["fairness"], report["server"].get("machine", report["machine"])
    p95 = {row["order"]: row["p95_ms"] for row in fairness["rows"]}
    return "\n".join(_TEXTS[language]).format(
        small_peer_ratio=ours["mini"]["to_best_peer"],
        small_ratio=ours["mini"]["ratio"],
        small_peer=peers["mini"]["contender"],
        base_peer_ratio=ours["base"]["to_best_peer"],
        base_ratio=ours["base"]["ratio"],
        base_peer=peers["base"]["contender"],
        processor=report["machine"]["processor"],
        threads=report["machine"]["threads"],
        documents=report["documents"],
        tokens=report["rows"][0]["tokens_per_pair"],
        clients=fairness["clients"],
        server_processor=served_on["processor"],
        server_threads=served_on["threads"],
        large=fairness["documents"],
        small=fairness["small_documents"],
        characters=fairness["characters"],
        fair=p95["fair"],
        fcfs=p95["first come"],
    )
