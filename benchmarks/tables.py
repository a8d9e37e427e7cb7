"""Markdown tables made from the result files, for the READMEs, the documents and the model card."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import RESULTS


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def speed() -> str:
    """Return ratios, rates, share of peak and memory of the last `make bench`."""
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
        f"peak of fp32 matrix products {peaks}, the higher of which is 100 %; "
        f"{report['requests']} requests of {report['documents']} documents in sequence, "
        f"{first['tokens_per_pair']} tokens per pair, max length 512; random weights in XLM-R's shapes; "
        f"onnxruntime {packages['onnxruntime']}, torch {packages['torch']}, "
        f"sentence-transformers {packages['sentence-transformers']} (batch 32). `make bench`.",
    ]
    for row in report.get("single_pair", []):
        lines.append(
            f"Shape of bge-reranker-v2-m3, one pair of {row['tokens']} tokens, {row['precision']}: {row['p50_ms']} ms "
            f"(slowest of ten {row['max_ms']} ms), {row['file_megabytes']:,} MB on disk."
        )
    if memory := report.get("memory"):
        for precision in ("fp32", "int8"):
            seen = ", ".join(f"{mb:.0f} MB after {key.rpartition('_')[2]}" for key, mb in memory[precision].items())
            lines.append(f"Peak memory over {memory['requests']:,} requests of varying length, {precision}: {seen}.")
    return "\n".join(f"- {line}" for line in lines)


def server() -> str:
    """Return HTTP against the library and Infinity, fairness, overhead and overload; empty if never measured."""
    parts = []
    if (RESULTS / "cpu.json").exists() and (report := _read("cpu.json").get("server")):
        parts += [_throughput(report["throughput"]), _beside(report)]
    if (RESULTS / "soak.json").exists():
        parts.append(_overload(_read("soak.json")))
    return "\n\n".join(parts)


def _throughput(report: dict[str, Any]) -> str:
    rows = [
        [
            str(row["clients"]),
            row["contender"],
            f"{row['pairs_per_second']:.1f}",
            f"**{row['to_library']:.2f} x**" if "to_library" in row else "",
            f"**{row['to_infinity']:.1f} x**" if "to_infinity" in row else "",
        ]
        for row in report["rows"]
    ]
    return _table(["clients", "", "pairs/s", "against the library", "against Infinity"], rows)


def _beside(report: dict[str, Any]) -> str:
    whole, fair, short = report["throughput"], report["fairness"], report["overhead"]
    machine = report["machine"]
    small = {row["order"]: row for row in fair["rows"]}
    lines = [
        f"{machine['processor']}, {machine['threads']} threads each; 6 x 384 with random weights, Infinity 0.0.78 "
        f"with torch fp32; {whole['documents']} documents per request, max length 512, cache off; the library takes "
        f"requests in sequence; ratios are medians of {whole['rounds']} alternating rounds. "
        "`make bench BENCH_FLAGS=--only-server`.",
        f"p95 of requests of {fair['small_documents']} documents while {fair['clients']} clients send "
        f"{fair['documents']} documents of {fair['characters']} characters (int8): "
        f"**{small['fair']['p95_ms']:,.0f} ms**, first come, first served {small['first come']['p95_ms']:,.0f} ms, "
        f"without other load {small['alone']['p95_ms']:,.0f} ms.",
        f"HTTP overhead for one short document with the first `mini` (6 layers): {short['overhead_ms']} ms "
        f"(median {short['http_p50_ms']} ms, in process {short['library_p50_ms']} ms); "
        f"{short['requests_per_second']:,.0f} requests/s with {short['clients']} clients.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _overload(report: dict[str, Any]) -> str:
    overload, memory, after = report["overload"], report["memory_megabytes"], report["recovery"]
    least, most = report["documents"]
    statuses = ", ".join(f"{count:,} x {status}" for status, count in overload["first"].items())
    retries, accepted = overload["retries"], overload["accepted_seconds"]
    share = f"{retries['answered']:.0%}" if retries["answered"] is not None else "none"
    soon = after["seconds_to_full_speed"]
    lines = [
        f"Load shedding: {overload['offered_to_capacity']:.1f} x capacity for {report['seconds']:.0f} s "
        f"({report['machine']['processor']}, {report['machine']['threads']} threads, `{report['model']}`, {least} to "
        f"{most} documents of {report['characters']} characters, capacity "
        f"{report['capacity']['pairs_per_second']:.0f} pairs/s with {report['capacity']['clients']} clients): "
        f"{statuses}. `make soak`.",
        f"{share} of the {retries['made']:,} retries after Retry-After were answered; "
        f"{retries['due_later']:,} were due after the end of the run.",
        f"Accepted requests took {accepted['p50']:.2f} s (median) and {accepted['p99']:.2f} s (p99) with "
        f"`max_queue_seconds` {report['max_queue_seconds']:g}."
        if accepted
        else "No request was accepted.",
        f"Memory {memory['start']:.0f} MB before, {memory['peak']:.0f} MB peak, {memory['after']:.0f} MB after; "
        + (
            f"back at full throughput within {soon + 1:.2g} s."
            if soon is not None
            else "full throughput was not reached again."
        ),
    ]
    return "\n".join(f"- {line}" for line in lines)


def sizing() -> str:
    """Return the formula of docs/scale.md against measurement, and latency at a share of capacity."""
    report = _read("sizing.json")
    rows = [
        [
            str(row["instances"]),
            f"{row['documents']} x {row['characters']}",
            f"{row['tokens_per_request']:,}",
            f"{row['bench_tokens_per_second']:,}",
            f"{row['predicted']:.2f}",
            f"{row['measured']:.2f}",
            f"{row['ratio']:.2f} ({row['ratios'][0]:.2f} to {row['ratios'][-1]:.2f})",
        ]
        for row in report["points"]
    ]
    head = ["instances", "documents x characters", "tokens", "tokens/s (bench)", "predicted req/s", "measured", "ratio"]
    waits = [
        [
            f"{row['share_of_capacity']:.0%}",
            f"{row['ms']['p50']:,.0f} ms",
            f"{row['p95_ms']:,.0f} ms",
            f"{row['requests']}",
            f"{row['refused']}",
        ]
        for row in report["waits"]
    ]
    first = report["waits"][0]
    machine = f"{report['machine']['processor']}, {report['machine']['cores']} cores"
    return "\n\n".join(
        [
            f"Measured at saturation (utilization = 1), `{report['model']}` int8 on {machine}, one thread and one core "
            f"per instance, behind nginx, {report['clients_per_instance']} clients per instance. Ratios are medians of "
            f"{report['turns']} rounds that alternate prediction and measurement, with minimum and maximum: other work "
            "ran on that machine. With two instances, nginx and the load generator share their cores. "
            "`python -m benchmarks.sizing`.",
            _table(head, rows),
            f"Poisson arrivals at a share of the measured capacity, one instance, {first['documents']} documents of "
            f"{first['characters']} characters, {first['seconds']:g} s each:",
            _table(["utilization", "p50", "p95", "requests", "rejected"], waits),
        ]
    )


def failover() -> str:
    """Return failed requests and latency while instances were killed and restarted."""
    report = _read("failover.json")
    load, away, events = report["load"], report["seconds_away"], report["events"]
    steady, during = report["steady_ms"], report["failover_ms"]
    least, most = load["documents"]
    return (
        f"Two instances behind nginx, {load['clients']} clients with {load['pause_seconds']:g} s between requests, "
        f"{least} to {most} documents of {load['characters']} characters, {report['requests_per_second']:.0f} "
        f"requests/s: {events['kill -9']} x `kill -9` and restart, {events['SIGTERM']} x SIGTERM and restart (back "
        f"within {away['kill -9']:.1f} s and {away['SIGTERM']:.1f} s, including draining and loading). "
        f"**{report['failed']} of {report['requests']:,} requests failed**; {report['sent_to_a_second_instance']} were "
        f"retried on a second instance. p95 {during['p95']:.0f} ms (p50 {during['p50']:.0f}) while one was away, "
        f"{steady['p95']:.0f} ms (p50 {steady['p50']:.0f}) otherwise. {report['machine']['processor']}, "
        f"{report['machine']['cores']} cores for everything. `python -m benchmarks.failover`."
    )


def jobs() -> str:
    """Return throughput, latency and recovery of jobs through Redis."""
    report = _read("jobs.json")
    batching, cores, faults, interactive = (report[name] for name in ("batching", "cores", "faults", "interactive"))
    tiny, first = batching["tiny_job"], batching["rows"][0]
    lines = [
        f"{batching['jobs']} jobs of {batching['documents_per_job']} documents at once took "
        f"{first['ratio']:.2f} x the time of one job with the same pairs (`{first['model']}`, "
        f"{first['processor_time_ratio']:.2f} x its CPU time); "
        f"a job of one document {tiny['job_ms']['p50']:.0f} ms end to end, {tiny['overhead_ms']:.0f} ms "
        "more than the library, with Redis syncing every write to disk.",
        *(
            f"Bulk throughput of one worker: {row['ratio']:.2f} x the library on {row['model'].split(' ')[0]} "
            f"({row['library_pairs_per_second']:,.0f} pairs/s in the library, {row['threads']} thread)."
            for row in report["throughput"]["rows"]
        ),
        f"Two workers with one core each: {cores['ratio']:.2f} x one worker with one core.",
        f"{faults['pairs']:,} pairs on {faults['workers']} workers, "
        f"{sum('worker' in event['what'] for event in faults['events'])} x `kill -9` of a worker and once of Redis: "
        f"{faults['missing']} missing, {faults['twice']} duplicated, output bytes as without faults; "
        f"{faults['seconds_lost']:.0f} s lost with leases of {faults['lease_seconds']:.0f} s ({faults['model']}).",
        f"Interactive jobs: p50 {interactive['idle_ms']['p50']:.0f} ms, p95 {interactive['idle_ms']['p95']:.0f} ms; "
        f"while bulk jobs saturate the worker {interactive['bulk_ms']['p50']:.0f} and "
        f"{interactive['bulk_ms']['p95']:.0f} ms.",
    ]
    processor = faults["machine"]["processor"]
    where = f"{processor}, 2 cores for everything, with other work on them. `python -m benchmarks.jobs`."
    return "\n".join(f"- {line}" for line in [*lines, where])


def traces() -> str:
    """Return write throughput, size and query latency of the trace database."""
    report = _read("traces.json")
    rows = []
    for name, title in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL")):
        if row := report.get(name):
            queries = row["queries"]
            rows.append(
                [
                    title,
                    f"{row['traces_per_second']:,.0f}",
                    f"{row['bytes_per_trace_texts_repeated']:,}",
                    f"{row['bytes_per_trace']:,}",
                    f"{queries['last hour of a tenant']['p95_ms']:.1f} ms",
                    f"{queries['one trace with its texts']['p95_ms']:.1f} ms",
                ]
            )
    head = [
        *("database", "traces/s", "bytes per trace, texts repeated in each", "bytes per trace, texts stored once"),
        *("last hour of a tenant, p95", "one trace with texts, p95"),
    ]
    machine = report["machine"]
    where = (
        f"{report['traces']:,} traces of {report['candidates']} candidates, {report['corpus']:,} different documents; "
        f"{machine['cores']} cores ({machine['processor']}). `python -m benchmarks.traces`."
    )
    return f"{_table(head, rows)}\n\n{where}"


def rules() -> str:
    """Return the cost of rules with many terms per request."""
    report = _read("rules.json")
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
    return f"{_table(head, rows)}\n\n{conditions}"


def improve() -> str:
    """Return gain, gate result, time and memory of every run of the closed loop."""
    report = _read("improve.json")
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
    return f"{_table(head, rows)}\n\n{conditions}"


def retrieval() -> str:
    """Return indexing speed, search latency, and the quality of each stage."""
    report = _read("retrieval.json")
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
    table = _table(["pack", "queries", "stage", "R@50", "nDCG@10", "p95"], rows)
    return f"{table}\n\n" + "\n".join(lines)


def quality() -> str:
    """Return `mini` against BM25 on held-out documents of every pack, alone and fused with BM25's score."""
    rows = [
        [
            row["pack"],
            str(row["queries"]),
            f"{row['bm25 nDCG@10']:.3f}",
            f"{row['mini nDCG@10']:.3f}",
            _difference(row["delta"], row["interval"]),
            _difference(row["fused delta"], row["fused interval"]),
        ]
        for row in _read("mini.json")["packs"]
    ]
    head = ["pack", "queries", "BM25 nDCG@10", "mini nDCG@10", "difference [95 %]", "fused, difference [95 %]"]
    return _table(head, rows)


def transfer() -> str:
    """Return `mini` against BM25 on packs left out of its training."""
    report = _read("mini.json")["transfer"]
    rows = [
        [
            row["pack"],
            str(row["queries"]),
            f"{row['bm25 nDCG@10']:.3f}",
            f"{row['mini nDCG@10']:.3f}",
            _difference(row["delta"], row["interval"]),
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
            f"**{_difference(row['delta'], row['interval'])}**",
        ]
        for row in report["together"]
        if row["kind"] == "alone"
    ]
    return _table(["pack", "queries", "BM25 nDCG@10", "mini nDCG@10", "difference [95 %]"], rows)


def _difference(mean: float, interval: list[float]) -> str:
    return f"{mean:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"


def fill(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between `<!-- name -->` and `<!-- /name -->`."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, marker, rest = text.partition(start)
    _, closed, tail = rest.partition(end)
    if not marker or not closed:
        raise ValueError(f"There are no markers for {name!r}.")
    return f"{head}{start}{content}\n{end}{tail}"
