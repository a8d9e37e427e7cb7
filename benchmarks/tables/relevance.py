"""Tables of relevance: rules, training, retrieval, and the bundled model."""

from __future__ import annotations

from benchmarks.tables.markdown import difference, read, table


def rules() -> str:
    """Return the cost of rules with many terms per request."""
    report = read("rules.json")
    rows = [
        [
            row["shape"],
            f"{row['p50_ms']:.2f} ms",
            f"{row['p95_ms']:.2f} ms",
            f"{row['fired_per_request']:,.0f}",
            f"{row['read_ms']:,.0f} ms",
        ]
        for row in report["rows"]
    ]
    machine = report["machine"]
    conditions = (
        f"Requests of {report['documents']} documents of {report['characters']} characters, half Chinese, "
        f"half English; {machine['cores']} cores ({machine['processor']}). `python -m benchmarks.rules`."
    )
    head = [f"{report['terms']:,} terms as", "p50", "p95", "matched", "loading"]
    return f"{table(head, rows)}\n\n{conditions}"


def improve() -> str:
    """Return gain, gate result, time and memory of every run of the closed loop."""
    report = read("improve.json")
    rows = []
    for run in report["runs"]:
        options, checks = run["options"], run["checks"]
        failed = [name.partition(" on ")[0] for name, (passed, _) in checks.items() if not passed]
        rows.append(
            [
                options.get("base", "mini"),
                run["pack"],
                "shuffled" if run["shuffled"] else run.get("note", "original"),
                f"{run['training']:,} ({'all' if options['no_mine_negatives'] else 'filtered'}), {run['steps']} steps",
                f"{run['training seconds'] / 60:.0f} min, {run['seconds'] / 60:.0f} min",
                f"{run['peak memory, MB'] / 1000:.1f} GB",
                next(message for name, (_, message) in checks.items() if name.startswith("gain")).rstrip("."),
                "passed" if run["passed"] else f"refused: {', '.join(dict.fromkeys(failed))}",
            ]
        )
    machine, last = report["machine"], report["runs"][-1]["options"]
    conditions = (
        f"LoRA, bfloat16, BM25's top {last['depth']} per query; {machine['cores']} cores "
        f"({machine['processor']}{', AMX' if machine['amx'] else ''}). "
        "`python -m benchmarks.improve --data DATA --bf16 --no-mine-negatives`."
    )
    head = ["base", "pack", "labels", "examples (negatives)", "training, total", "memory", "held-out queries", "gate"]
    return f"{table(head, rows)}\n\n{conditions}"


def retrieval() -> str:
    """Return indexing speed, search latency, and the quality of each stage."""
    report = read("retrieval.json")
    index, machine = report["index"], report["machine"]
    lines = [
        f"- {index['passages']:,} passages ({index['text_mb']:.0f} MB, half Chinese, half English) of one jsonl file: "
        f"{index['index_seconds']:.0f} s ({index['passages_per_second']:,} passages/s), {index['index_mb']:.0f} MB; "
        f"second run, nothing changed: {index['unchanged_seconds']:.1f} s.",
        f"- First stage, 50 documents per query: p50 {index['p50_ms']:.1f} ms, p95 **{index['p95_ms']:.1f} ms**.",
        f"- {machine['cores']} cores ({machine['processor']}). `python -m benchmarks.retrieval --data DATA/...`.",
    ]
    rows = [
        [
            row["dataset"],
            str(row["queries"]),
            {"first-stage": "index, 50", "mini": "reranked", "mini + first-stage": "fused, x 0.5"}[row["system"]],
            f"{row['R@50']:.3f}",
            f"{row['nDCG@10']:.3f}",
            f"{row['p95_ms']:,.0f} ms" if row["p95_ms"] else "",
        ]
        for row in report["stages"]
    ]
    stages = table(["pack", "queries", "stage", "R@50", "nDCG@10", "p95"], rows)
    return f"{stages}\n\n" + "\n".join(lines)


def quality() -> str:
    """Return `mini` against BM25 on held-out documents of every pack, alone and fused with BM25's score."""
    rows = [
        [
            row["pack"],
            str(row["queries"]),
            f"{row['bm25 nDCG@10']:.3f}",
            f"{row['mini nDCG@10']:.3f}",
            difference(row["delta"], row["interval"]),
            difference(row["fused delta"], row["fused interval"]),
        ]
        for row in read("mini.json")["packs"]
    ]
    head = ["pack", "queries", "BM25 nDCG@10", "mini nDCG@10", "difference [95 %]", "fused, difference [95 %]"]
    return table(head, rows)


def transfer() -> str:
    """Return `mini` against BM25 on packs left out of its training."""
    report = read("mini.json")["transfer"]
    rows = [
        [
            row["pack"],
            str(row["queries"]),
            f"{row['bm25 nDCG@10']:.3f}",
            f"{row['mini nDCG@10']:.3f}",
            difference(row["delta"], row["interval"]),
        ]
        for row in report["packs"]
    ]
    language = {"zh": "Chinese, all", "en": "English, all"}
    rows += [
        [
            f"**{language[row['language']]}**",
            str(row["queries"]),
            "",
            "",
            f"**{difference(row['delta'], row['interval'])}**",
        ]
        for row in report["together"]
        if row["kind"] == "alone"
    ]
    return table(["pack", "queries", "BM25 nDCG@10", "mini nDCG@10", "difference [95 %]"], rows)
