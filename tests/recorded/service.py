"""HTTP responses of the service, in every dialect and on every path, and the traces that they leave."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.integration.serving import serve
from tests.recorded.caller import ADMIN, Caller
from tests.recorded.inputs import PASSAGES, RULES, TINY
from tests.recorded.program import Program, environment
from tests.recorded.rules import SECURITY
from tests.recorded.scoring_requests import rank, refuse, score
from tests.recorded.stored_requests import ask, follow_experiment, manage, run_jobs, tell


def record(folder: Path) -> dict[str, Any]:
    """Return all answers, the metrics' names, and the rows of the database afterwards."""
    for name, text in PASSAGES.items():
        path = folder / "passages" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    url = f"sqlite:///{folder}/traces.sqlite"
    settings = {
        "RERANKD_API_KEYS_FILE": str(TINY.parent / "keys.json"),
        "RERANKD_MODELS": json.dumps({"tiny": str(TINY)}),
        "RERANKD_TRACES_URL": url,
        "RERANKD_TRACES_SECONDS": "0.1",
        "RERANKD_TRACES_REDACT": '["email"]',
        "RERANKD_CASES": "false",
        "RERANKD_ROLLOUT_SECONDS": "0.5",
        "RERANKD_JOBS_PATH": str(folder / "jobs.sqlite"),
        "RERANKD_INDEX": str(folder / "index"),
        "RERANKD_MAX_BODY_MB": "0.2",
        "RERANKD_MAX_DOCUMENTS": "20",
    }
    with Program(folder) as program:
        program.run("index", "passages", "--index", "index")
        start = ("rollout", "start", "tiny-canary", "--challenger", "mini", "--model", "tiny", "--kind", "canary")
        program.run(
            *start,
            "--no-auto-promote",
            "--steps",
            "100",
            "--seed",
            "fixed",
            "--min-seconds",
            "1000",
            "--traces-url",
            url,
        )
        with (
            serve("--rules", str(folder / "rules.yaml"), env=environment(folder) | settings) as served,
            httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client,
        ):
            call = Caller(client)
            rank(call)
            score(call)
            refuse(call)
            run_jobs(call)
            ask(call)
            tell(call)
            follow_experiment(call)
            manage(call)
            call.wait_for_traces()
            response = call("metrics", "GET", "/metrics", key=ADMIN)
            call.answers["metrics"]["security"] = {name: response.headers[name] for name in SECURITY}
            call.answers["metrics"]["body"] = dict(
                sorted(re.findall(r"^# TYPE (rerankd\w+(?<!_created)) (\w+)$", response.text, re.MULTILINE))
            )
            answers = call.answers
        return {
            "answers": answers,
            "exported": program.run("traces", "export", "--traces-url", url)["out"],
            "shown": program.run("traces", "show", "rank.rich", "--traces-url", url)["out"],
            "listed": program.run("traces", "list", "--order", "margin", "--limit", "3", "--json", "--traces-url", url)[
                "out"
            ],
            "monitor": program.run("monitor", "--json", "--traces-url", url)["out"],
            "tables": {name: rows(folder / f"{name}.sqlite") for name in ("traces", "jobs")},
        }


def rows(path: Path) -> dict[str, Any]:
    """Return the tables of a SQLite file: columns, rows, indexes; packed bytes are shown by `traces export`.

    Texts are numbered in no particular order, so that they are sorted by their hashes, and named by them elsewhere. Of
    traces, a few rows show what the columns hold; `traces export` has all of them.
    """
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        names = db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        for (name,) in names.fetchall():
            columns = [
                f"{one['name']} {one['type']}{' NOT NULL' * one['notnull']}"
                for one in db.execute(f"PRAGMA table_info({name})")
            ]
            select = f"SELECT * FROM {name} ORDER BY rowid"  # noqa: S608  a name that the file itself gives
            found[name] = {"columns": columns, "rows": [dict(row) for row in db.execute(select)]}
        indexes = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        found["(indexes)"] = [text for (text,) in db.execute(indexes)]
    if "passage" in found:
        hashes = {row["id"]: row["hash"].hex()[:16] for row in found["passage"]["rows"]}
        texts = [
            {"hash": hashes[row["id"]], "size": row["size"], "deflated": row["deflated"]}
            for row in found["passage"]["rows"]
        ]
        found["passage"]["rows"] = sorted(texts, key=lambda row: str(row["hash"]))
        for row in found["trace"]["rows"]:
            row |= {name: hashes[row[name]] for name in ("query", "parameters")}
    if "experiment_unit" in found:  # written from a set
        found["experiment_unit"]["rows"].sort(key=lambda row: str(row["unit"]))
    for name, table in found.items():
        if isinstance(table, dict):
            table["count"] = len(table["rows"])
            shown = table["rows"][:3] if name in ("trace", "candidates") else table["rows"]
            table["rows"] = [
                {key: "<bytes>" if isinstance(cell, bytes) else cell for key, cell in row.items()} for row in shown
            ]
    return found
