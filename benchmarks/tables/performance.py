"""Tables of speed: the library on one machine, and the service under load."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.markdown import exists, read, table

_MACHINES = ("cpu.json", "cpu-epyc.json", "m3-epyc.json")  # each written with --name
_SHAPES_OF_FAMILIES = {"modernbert-base": "ModernBERT-base", "qwen3-0.6b": "Qwen3-0.6B"}
_FAMILIES_TEXTS = {
    "en": (
        ["shape", "", "to the best peer", "pairs/s", "peak memory"],
        "{shape}: {processor} ({flags}), {threads} threads, load {load:g} before the run; medians of {requests} "
        "requests of {documents} documents, {tokens:.0f} tokens per pair; random weights; torch {torch}, "
        "sentence-transformers {peer}. `python -m benchmarks.families --shapes {name}`.",
        "*One by one* sends each document alone, so that nothing of the prompt is shared between documents.",
    ),
    "zh": (
        ["结构", "", "与最快同类之比", "对/秒", "内存峰值"],
        "{shape}：{processor}（{flags}），{threads} 线程，运行前负载 {load:g}；{requests} 个请求的中位数，每个请求 "
        "{documents} 篇文档，每对 {tokens:.0f} 个 token；随机权重；torch {torch}，sentence-transformers {peer}。"
        "`python -m benchmarks.families --shapes {name}`。",
        "*one by one* 表示逐篇发送文档，提示词没有任何部分在文档之间共享。",
    ),
}
_SHAPES = {"mini": "6 x 384", "base": "12 x 768", "m3": "24 x 1024"}


def speed() -> str:
    """Return ratios, rates, share of peak and memory of the last `make bench` on each machine."""
    return "\n\n".join(_speed(read(name)) for name in _MACHINES if exists(name))


def _speed(report: dict[str, Any]) -> str:
    rows = [
        [
            _SHAPES[row["shape"]],
            row["contender"],
            f"**{row['to_best_peer']:.2f} x**",
            f"{row['ratio']:.1f} x",
            f"{row['pairs_per_second']:.1f}",
            f"{row['tokens_per_second']:,}",
            f"{row['share_of_peak']:.0%}" if row.get("share_of_peak") else "",
            f"{row['peak_megabytes']:,} MB",
        ]
        for row in report["rows"]
    ]
    ratios = ["to the best peer", "to sentence-transformers fp32"]
    head = ["shape", "", *ratios, "pairs/s", "tokens/s", "share of peak", "peak memory"]
    return f"{table(head, rows)}\n\n{_conditions(report)}"


def _conditions(report: dict[str, Any]) -> str:
    machine, first = report["machine"], report["rows"][0]
    packages = machine["packages"]
    peaks = ", ".join(f"{rate:,} in {precision}" for precision, rate in report["peak_gops"].items())
    lines = [
        f"{machine['processor']} ({', '.join(machine['flags'])}), {machine['threads']} threads, load "
        f"{machine['load_before']:g} before the run, "
        f"peak, the best rate of a library's matrix product, in 10^9 operations/s: {peaks}; "
        f"{report['requests']} requests of {report['documents']} documents in sequence, "
        f"{first['tokens_per_pair']} tokens per pair, max length 512; random weights in XLM-R's shapes; "
        f"onnxruntime {packages['onnxruntime']}, torch {packages['torch']}, "
        f"sentence-transformers {packages['sentence-transformers']} and plain ONNX Runtime in batches of 32, "
        "OpenVINO in batches of 8 of similar length, int8 by NNCF. `make bench`.",
    ]
    for row in report.get("single_pair", []):
        lines.append(
            f"{_SHAPES[row['shape']]}, one pair of {row['tokens']} tokens, {row['backend']} {row['precision']}: "
            f"{row['p50_ms']} ms "
            f"(slowest of ten {row['max_ms']} ms), {row['file_megabytes']:,} MB on disk."
        )
    if memory := report.get("memory"):
        for precision in ("fp32", "int8"):
            seen = ", ".join(f"{mb:.0f} MB after {key.rpartition('_')[2]}" for key, mb in memory[precision].items())
            lines.append(f"Peak memory over {memory['requests']:,} requests of varying length, {precision}: {seen}.")
    return "\n".join(f"- {line}" for line in lines)


def families_speed(language: str) -> str:
    """Return the speed of the shapes of other families beside sentence-transformers.

    Args:
        language: `en` or `zh`.
    """
    head, conditions, note = _FAMILIES_TEXTS[language]
    rows, lines = [], []
    for name, report in read("families.json")["shapes"].items():
        shape, machine = _SHAPES_OF_FAMILIES[name], report["machine"]
        for row in report["rows"]:
            memory = f"{row['peak_megabytes']:,} MB" if row["peak_megabytes"] else ""
            ratio = f"**{row['to_best_peer']:.2f} x**"
            rows.append([shape, row["contender"], ratio, f"{row['pairs_per_second']:.2f}", memory])
        text = conditions.format(
            shape=shape,
            name=name,
            processor=machine["processor"],
            flags=", ".join(machine["flags"]),
            threads=machine["threads"],
            load=machine["load_before"],
            requests=report["requests"],
            documents=report["documents"],
            tokens=report["rows"][0]["tokens_per_pair"],
            torch=machine["packages"]["torch"],
            peer=machine["packages"]["sentence-transformers"],
        )
        lines.append(text)
    return table(head, rows) + "\n\n" + "\n".join(f"- {line}" for line in [*lines, note])


def causal_speed(language: str) -> str:
    """Return start, speed and memory of a real causal model beside transformers.

    Args:
        language: `en` or `zh`.
    """
    report = read("causal.json")
    heads = {
        "en": ["", "start", "pairs/s", "to transformers", "peak memory"],
        "zh": ["", "启动", "对/秒", "与 transformers 之比", "内存峰值"],
    }
    seconds = {"en": "s", "zh": "秒"}[language]
    rows = [
        [
            row["contender"],
            f"{row['start_seconds']:.1f} {seconds}",
            f"{row['pairs_per_second']:.2f}",
            f"**{row['to_best_peer']:.2f} x**",
            f"{row['peak_megabytes']:,} MB",
        ]
        for row in report["rows"]
    ]
    return table(heads[language], rows)


def server() -> str:
    """Return HTTP against the library and Infinity, fairness, overhead and overload; empty if never measured."""
    parts = []
    for name in _MACHINES:
        if exists(name) and (report := read(name).get("server")):
            parts += [_throughput(report["throughput"]), _beside(report)]
    if exists("soak.json"):
        parts.append(_overload(read("soak.json")))
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
    return table(["clients", "", "pairs/s", "against the library", "against Infinity"], rows)


def _beside(report: dict[str, Any]) -> str:
    whole, fair, short = report["throughput"], report["fairness"], report["overhead"]
    machine = report["machine"]
    small = {row["order"]: row for row in fair["rows"]}
    beside = any(row["contender"] == "Infinity" for row in whole["rows"])
    infinity = ", Infinity 0.0.78 with torch fp32" if beside else ""
    lines = [
        f"{machine['processor']}, {machine['threads']} threads each; 6 x 384 with random weights{infinity}; "
        f"{whole['documents']} documents per request, max length 512, cache off; the library takes "
        f"requests in sequence; ratios are medians of {whole['rounds']} alternating rounds. "
        "`make bench BENCH_FLAGS=--only-server`.",
        f"p95 of requests of {fair['small_documents']} documents while {fair['clients']} clients send "
        f"{fair['documents']} documents of {fair['characters']} characters (int8): "
        f"**{small['fair']['p95_ms']:,.0f} ms**, first come, first served {small['first come']['p95_ms']:,.0f} ms, "
        f"without other load {small['alone']['p95_ms']:,.0f} ms.",
        f"HTTP overhead for one short document with `mini` ({short.get('layers', 6)} layers): "
        f"{short['overhead_ms']} ms (median {short['http_p50_ms']} ms, in process {short['library_p50_ms']} ms); "
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
