"""Tables of operation: sizing, failover, jobs and traces."""

from __future__ import annotations

from benchmarks.tables.markdown import read, table


def sizing() -> str:
    """Return the formula of docs/scale.md against measurement, and latency at a share of capacity."""
    report = read("sizing.json")
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
            table(head, rows),
            f"Poisson arrivals at a share of the measured capacity, one instance, {first['documents']} documents of "
            f"{first['characters']} characters, {first['seconds']:g} s each:",
            table(["utilization", "p50", "p95", "requests", "rejected"], waits),
        ]
    )


def failover() -> str:
    """Return failed requests and latency while instances were killed and restarted."""
    report = read("failover.json")
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
    report = read("jobs.json")
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
    report = read("traces.json")
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
    return f"{table(head, rows)}\n\n{where}"
