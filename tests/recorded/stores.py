"""Databases, a registry and an index as the version before wrote them: packed once, opened by every version since."""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.integration.serving import serve
from tests.recorded.caller import ADMIN
from tests.recorded.commands import files
from tests.recorded.inputs import FIXTURES, PAIRS, QUERIES, QUESTIONS, RULES, TINY
from tests.recorded.program import Program, environment
from tests.recorded.service import rows

ARCHIVE = FIXTURES / "stores.tar.xz"
KEPT = {
    "service": ("traces.sqlite", "jobs.sqlite", "index"),
    "commands": ("state/rerankd/registry", "state/rerankd/traces.sqlite"),
}
"""Parts of a recording's folder that are kept."""

ORIGIN = "/origin"
"""Path in the kept databases for the folder that they were recorded in."""
ORIGIN_FIXTURES = "/origin-fixtures"
"""Path in the kept databases for the folder of the fixtures."""

FOR_EVER = {"RERANKD_TRACES_DAYS": "0", "RERANKD_FEEDBACK_HOURS": "1e9", "RERANKD_JOB_SECONDS": "1e10"}


def keep(name: str, folder: Path, into: Path) -> None:
    """Copy what a recording left behind into a folder to pack."""
    for part in KEPT[name]:
        source, target = folder / part, into / name / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("cache", "*.lock"))
        else:
            with closing(sqlite3.connect(source)) as db:
                db.execute("VACUUM INTO ?", (str(target),))
    for path in into.rglob("*.sqlite"):
        relocate(path, str(folder), ORIGIN)
        relocate(path, str(FIXTURES), ORIGIN_FIXTURES)


def pack(folder: Path) -> None:
    """Write the archive."""
    with tarfile.open(ARCHIVE, "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False)


def relocate(path: Path, before: str, after: str) -> None:
    """Replace a folder's name in every text of a SQLite file: MLflow keeps absolute paths."""
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [row[1] for row in db.execute(f"PRAGMA table_info({table})")]:
                text = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'  # noqa: S608
                db.execute(text, (before, after, before))
        db.commit()
        db.execute("VACUUM")


def record(folder: Path) -> dict[str, Any]:
    """Return what is read from the kept files, by commands and by a service."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in (folder / "commands").rglob("*.sqlite"):
        relocate(path, ORIGIN_FIXTURES, str(FIXTURES))
    for path in (folder / "commands").rglob("mlflow.sqlite"):
        relocate(path, ORIGIN, str(folder / "commands"))
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    recorded: dict[str, Any] = {}
    traces, experiments = (
        ("--traces-url", "sqlite:///service/traces.sqlite"),
        ("--traces-url", "sqlite:///commands/state/rerankd/traces.sqlite"),
    )
    registry = ("--registry", f"sqlite:///{next((folder / 'commands').rglob('mlflow.sqlite'))}")

    (folder / "pairs.tsv").write_text(
        "".join(f"{query}\t{document}\n" for query, document in PAIRS[:2]), encoding="utf-8"
    )
    with Program(folder, FOR_EVER | {"RERANKD_REGISTRY": registry[1]}) as program:

        def run(*arguments: str) -> list[Any]:
            name = " ".join(arguments).partition(" --registry")[0].replace(str(TINY), "TINY")
            recorded[name] = program.run(*arguments)
            out: list[Any] = recorded[name]["out"]
            return out

        run("traces", "list", "--limit", "3", *traces)
        run("traces", "export", *traces)
        run("traces", "show", "rank.rules", *traces)
        run("traces", "list", "--experiment", "tiny-canary", *traces)
        run("traces", "replay", str(TINY), "--limit", "5", *traces)
        run("rules", "preview", "rules.yaml", "--limit", "5", *traces)
        run("feedback", "list", *traces)
        for case in run("cases", "list", *traces):
            run("cases", "show", str(case["id"]), *traces)
        run("cases", "export", "--beir", "cases", "--training", "training.jsonl", *traces)
        run("cases", "flag", "rank.all", "--document", "1", "--note", "new", *traces)
        run("cases", "label", "3", "--relevant", "7", "--irrelevant", "0,2", *traces)
        run("cases", "detect", "--since", "36500d", "--json", *traces)
        run("rollout", "status", *traces)[0]["step_seconds"] = 0.0
        run("rollout", "history", *traces)
        for row in run("rollout", "status", *experiments):
            row["step_seconds"] = 0.0
        run("rollout", "history", *experiments)
        run("feedback", "list", *experiments)
        for job in run("jobs", "list", "--jobs-path", "service/jobs.sqlite"):
            run("jobs", "show", job["id"], "--jobs-path", "service/jobs.sqlite")
        run("search", QUESTIONS[0], "--index", "service/index", "--model", str(TINY), "--threshold", "0")[0].update(
            request_id="", timings={}
        )
        run("models", "history", "med", *registry)
        run("models", "diff", "med", "1", "2", *registry)
        run("models", "show", "registry:med@2")
        run("score", "pairs.tsv", "--model", "registry:med")
        run("models", "promote", "med", "2", "--force", "--reason", "now", *registry)[0].update(when=0.0)
        recorded["exported cases"] = files(folder / "cases") | {
            "training": (folder / "training.jsonl").read_text().splitlines()
        }
        recorded["tables"] = {name: rows(folder / "service" / f"{name}.sqlite") for name in ("traces", "jobs")}
        for row in recorded["tables"]["traces"]["bad_case"]["rows"][2:]:  # those found now
            row |= {"time": 0.0, "changed": 0.0}
    recorded["service"] = served(
        folder, [job["id"] for job in recorded["jobs list --jobs-path service/jobs.sqlite"]["out"]]
    )
    return recorded


def served(folder: Path, jobs: list[str]) -> dict[str, Any]:
    """Return what a service answers that works on the kept files."""
    settings = {
        "RERANKD_API_KEYS_FILE": str(FIXTURES / "keys.json"),
        "RERANKD_TRACES_URL": f"sqlite:///{folder}/service/traces.sqlite",
        "RERANKD_JOBS_PATH": str(folder / "service/jobs.sqlite"),
        "RERANKD_INDEX": str(folder / "service/index"),
        "RERANKD_CASES": "false",
    }
    with (
        serve("--model", str(TINY), env=environment(folder) | settings | FOR_EVER) as server,
        httpx.Client(
            base_url=server.url, trust_env=False, timeout=60, headers={"authorization": f"Bearer {ADMIN}"}
        ) as client,
    ):
        answers = {job: client.get(f"/v1/jobs/{job}").json() for job in jobs}
        answers["models"] = client.get("/v1/models").json()["data"][0] | {"created": 0}
        body = {"query": QUERIES[0], "documents": ["竹子", "warranty"], "cache": False}
        answers["rerank"] = client.post("/v1/rerank", json=body, headers={"x-request-id": "r"}).json()
        return answers
