"""JSON output of the commands, with the files that they write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.recorded.inputs import (
    BEIR_DOCUMENTS,
    BEIR_GRADES,
    BEIR_QUERIES,
    CHINESE,
    DOCUMENTS,
    EMOJI,
    ENGLISH,
    NAMED,
    PAIRS,
    PASSAGES,
    QUESTIONS,
    RULES,
    TINY,
    TRADITIONAL,
)  # fmt: skip
from tests.recorded.program import Program

GATE_KEY = "a key of more than sixteen characters"


def lines(rows: list[Any]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_inputs(folder: Path) -> None:
    """Write the files that commands read."""
    texts = {
        "documents.txt": "\n".join(DOCUMENTS),
        "documents.jsonl": lines(NAMED),
        "documents.csv": "id,text\n1,竹子\n2,bamboo\n",
        "pairs.tsv": "".join(f"{query}\t{document}\n" for query, document in PAIRS[:4]),
        "pairs.jsonl": lines([{"query": query, "document": document} for query, document in PAIRS]),
        "rules.yaml": RULES,
        "wrong.yaml": "rules:\n  - name: nothing\n",
        "feedback.csv": "request_id,kind,index,value\nnever,click,0,\nnever,thumb,1,-1\n",
        "labelled.jsonl": lines(
            [
                {"query": query + ending, "document": BEIR_DOCUMENTS[name], "label": int(name in BEIR_GRADES[number])}
                for number, query in BEIR_QUERIES.items()
                for ending in ("", " Please.", " 谢谢")
                for name in BEIR_DOCUMENTS
            ]
        ),
        "beir/corpus.jsonl": lines([{"_id": name, "text": text} for name, text in BEIR_DOCUMENTS.items()]),
        "beir/queries.jsonl": lines([{"_id": name, "text": text} for name, text in BEIR_QUERIES.items()]),
        "beir/qrels.tsv": "query-id\tcorpus-id\tscore\n"
        + "".join(f"{q}\t{d}\t{grade}\n" for q, grades in BEIR_GRADES.items() for d, grade in grades.items()),
        "beir/candidates.trec": "".join(
            f"{query} Q0 {name} {position} {10 - position} first\n"
            for query in BEIR_QUERIES
            for position, name in enumerate(BEIR_DOCUMENTS, 1)
        ),
    } | {f"passages/{name}": text for name, text in PASSAGES.items()}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def files(folder: Path) -> dict[str, Any]:
    """Return the texts of files below a folder; of others the size."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            found[str(path.relative_to(folder))] = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            found[str(path.relative_to(folder))] = path.stat().st_size
    return found


class Recorder:
    """Runs commands and keeps what they wrote, by their command lines."""

    def __init__(self, program: Program) -> None:
        self.kept: dict[str, Any] = {}
        self._program = program

    def __call__(self, *arguments: str, stdin: str = "", **env: str) -> list[Any]:
        name = " ".join(arguments).replace(str(TINY), "TINY")
        assert name not in self.kept, name
        self.kept[name] = self._program.run(*arguments, stdin=stdin, **env)
        out: list[Any] = self.kept[name]["out"]
        return out


def record(folder: Path) -> dict[str, Any]:
    """Return what commands that run offline write."""
    write_inputs(folder)
    tiny = str(TINY)
    with Program(folder) as program:
        run = Recorder(program)
        rank(run)
        measure(run, tiny)
        search(run)
        rule(run)
        manage_keys(run)
        register(run, tiny, folder)
        roll_out(run, tiny)
        found = run("doctor", "--json", "--timeout", "0.1", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="")
        settings = run("config", "show", "--json", RERANKD_PORT="9000", RERANKD_MODELS='{"big": "org/big"}')
    return run.kept | {
        "doctor --json --timeout 0.1": [[*sorted(row), row["name"]] for row in found],
        "config show --json": {row["name"]: row for row in sorted(settings, key=lambda row: str(row["name"]))},
        "(runs)": files(folder / "runs"),
        "(bm25 runs)": files(folder / "bm25"),
        "(decision)": without_numbers(json.loads((folder / "decision.json").read_text())),
    }


def rank(run: Recorder) -> None:
    """Rank and score files of every kind."""
    run("rank", CHINESE, "documents.txt")
    run("rank", ENGLISH, "documents.jsonl", "--all", "--no-activation")
    run("rank", ENGLISH, "documents.jsonl", "--rules", "rules.yaml", "--fusion", "weighted", "--fusion-weight", "0.3")
    run("rank", "bamboo", "documents.csv", "--top-n", "1")
    run("rank", TRADITIONAL, "-", "--threshold", "0.5", stdin="\n".join(DOCUMENTS))
    run("rank", TRADITIONAL, "documents.txt", "--max-length", "48", "--long-documents", "chunk", "--top-n", "3")
    run("rank", "", "documents.txt")
    run("rank", "a", "nowhere.txt")
    run("rank", "a", "documents.jsonl", "--field", "body")
    run("rank", "a", "documents.txt", "--model", "./nowhere")
    run("rank", "a", "documents.txt", "--nonsense")
    run("score", "pairs.tsv")
    run("score", "pairs.jsonl", "--no-activation", "--truncation", "longest_first")
    run("demo", "--json")


def measure(run: Recorder, tiny: str) -> None:
    """Evaluate, calibrate, tune and gate on a small collection."""
    run("eval", "--data", "beir", "--json", "--fusion", "rrf", "--save-runs", "runs", "--html", "report.html")
    run("eval", "--data", "beir", "--runs", "runs", "--baseline", "mini", "--measures", "nDCG@3,RR", "--cases", "1")
    run(
        "eval", "--data", "beir", "--models", f"{tiny},{tiny}", "--max-queries", "3", "--depth", "4", "--no-first-stage"
    )
    run("eval", "--data", "beir", "--retrieve", "--models", tiny, "--save-runs", "bm25", "--cases", "0")
    run("eval", "--data", "beir", "--models", tiny, "--fail-below", "0.5")
    run("eval", "--data", "nowhere")
    run("calibrate", "--data", "beir")
    run("calibrate", "--data", "labelled.jsonl", "--model", tiny, "--out", "calibrated", "--balanced")
    run("tune", "--data", "beir", "--model", tiny, "--folds", "2", "--json")
    run("models", "show", tiny)
    run("models", "show", "mini")
    run("models", "show", "calibrated")[0]["manifest"]["files"]["model.onnx"] = "<hash>"  # of weights that were fitted
    run("models", "verify", tiny)
    run("models", "verify", "mini")
    run("models", "list", "--json", HF_HOME="hub")
    run("score", "pairs.tsv", "--model", "calibrated")
    out = run("gate", tiny, "--against", tiny, "--domain", "beir", "--out", "decision.json", RERANKD_GATE_KEY=GATE_KEY)
    out[:] = [without_numbers(row) for row in out]
    out = run("gate", "calibrated", "--against", tiny, "--domain", "beir", "--latency", "1000", "--size", "2")
    out[:] = [without_numbers(row) | {"candidate": "<fingerprint>"} for row in out]
    run("verify-gate", "decision.json", RERANKD_GATE_KEY=GATE_KEY)
    run("verify-gate", "./decision.json", RERANKD_GATE_KEY=GATE_KEY[::-1])
    run("gate", tiny)


def without_numbers(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gate's decision without what the machine's speed decides."""
    checks = [check if "latency" not in check["name"] else {"name": check["name"]} for check in decision["checks"]]
    return {**decision, "checks": checks, "passed": "<any>", "signature": bool(decision.get("signature"))}


def search(run: Recorder) -> None:
    """Build an index, search it and ask it."""
    run("index", "passages", "--index", "index", "--json")
    run("index", "passages", "--index", "index", "--tokens", "32", "--overlap", "8", "--json")
    run("index", "nowhere", "--index", "index")
    for question in QUESTIONS:
        run("search", question, "--index", "index", "--json")
    run(
        "search",
        QUESTIONS[0],
        "--index",
        "index",
        "--explain",
        "--top-n",
        "1",
        "--threshold",
        "0",
        "--rules",
        "rules.yaml",
    )
    run("search", "a", "--index", "nowhere")
    run("ask", QUESTIONS[0], "--index", "index", "--json")
    run("ask", QUESTIONS[2], "--index", "index", "--explain", "--k", "2")


def rule(run: Recorder) -> None:
    """Check rules and try them."""
    run("rules", "check", "rules.yaml")
    run("rules", "check", "wrong.yaml")
    run("rules", "test", "rules.yaml", EMOJI, "documents.jsonl")
    run("rules", "test", "rules.yaml", ENGLISH, "documents.jsonl", "--tenant", "team")


def manage_keys(run: Recorder) -> None:
    """Make keys, list them, take one back."""
    made = run("keys", "add", "search team", "--requests-per-minute", "60", "--json")
    made[0] |= {"key": len(made[0]["key"]), "id": len(made[0]["id"])}
    run("keys", "add", "root", "--admin", "--json")[0].update(key="", id="")
    for row in run("keys", "list", "--json"):
        row["id"] = len(row["id"])
    for row in run("keys", "revoke", "root", "--json"):
        row["id"] = len(row["id"])
    run("keys", "revoke", "nobody")


def register(run: Recorder, tiny: str, folder: Path) -> None:
    """Register versions, promote them and roll back."""
    (folder / "metrics.json").write_text('{"nDCG@10": 0.5}')
    run("models", "register", tiny, "--name", "med", "--metrics", "metrics.json", "--tag", "team=search")
    run("models", "register", tiny, "--name", "med")
    shutil.copytree(TINY, folder / "second")
    (folder / "second" / "README.md").write_text("The same, with a card.\n")
    run("models", "register", "second", "--name", "med", "--alias", "challenger", "--data", "labelled.jsonl")
    run("models", "promote", "med", "1")
    run("models", "promote", "med", "1", "--reason", "the first", "--force")
    run("models", "promote", "med", "--reason", "better", "--force")
    run("models", "promote", "med", "2", "--reason", "again", "--force")
    run("models", "rollback", "med", "--reason", "worse")
    run("models", "history", "med", "--json")
    run("models", "diff", "med", "1", "2")
    run("models", "diff", "med", "champion", "previous")
    run("models", "history", "nobody")
    run("models", "show", "registry:med")
    run("rank", ENGLISH, "documents.txt", "--model", "registry:med@2", "--top-n", "1")


def roll_out(run: Recorder, tiny: str) -> None:
    """Start, look at, advance and end experiments; feedback without traces."""
    start = ("rollout", "start")
    run(*start, "one", "--challenger", tiny, "--seed", "s", "--json")
    run(
        *start,
        "two",
        "--challenger",
        tiny,
        "--model",
        "other",
        "--kind",
        "shadow",
        "--unit",
        "tenant",
        "--seed",
        "s",
        "--json",
    )
    run(*start, "three", "--challenger", tiny, "--model", "third", "--kind", "split", "--steps", "10,50", "--margin",
        "errors=0.02", "--seed", "s", "--json")  # fmt: skip
    run(*start, "one", "--challenger", tiny)
    run(*start, "four", "--challenger", "./nowhere", "--model", "fourth")
    run("rollout", "status", "--json")
    run("rollout", "status", "one", "--json")
    run("rollout", "advance", "one")
    run("rollout", "advance", "two")
    run("rollout", "stop", "three")
    run("rollout", "stop", "--all")
    run("rollout", "status", "three")
    run("rollout", "history", "--json")
    run("rollout", "history", "nobody")
    run("feedback", "import", "feedback.csv")
    run("feedback", "list", "--json")
    run("traces", "list", "--json")
    run("traces", "show", "never")
    run("cases", "list", "--json")
    run("monitor", "--json")
    run("jobs", "list", "--json")
    run("jobs", "show", "never")
