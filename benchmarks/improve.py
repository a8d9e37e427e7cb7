"""The improvement loop on a domain dataset: `python -m benchmarks.improve --data DIR --pack toyhom-zh`.

Splits the queries of a dataset in two by document, runs `rerankd improve` with `mini` on one part, and evaluates on the
other; then again with shuffled labels, which the gate has to refuse. Each run is a process with its own time and
memory.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.machine import processor
from rerankd._common.processor import cpu_flags

RESULT = RESULTS / "improve.json"
HELD_OUT = 0.35
SALT = "improve"


def rows_of(path: Path) -> list[str]:
    """Yield the fields of each line of a gzipped file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def answers_of(folder: Path) -> dict[str, list[str]]:
    """Return the relevant documents of each query of a pack."""
    judged: dict[str, list[str]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            judged.setdefault(query, []).append(document)
    return judged


def share_found(folder: Path, depth: int) -> float:
    """Return the share of queries for which the first stage finds a relevant document."""
    judged = answers_of(folder)
    ranks = (line.split() for line in rows_of(folder / "candidates.trec.gz"))
    answered = {line[0] for line in ranks if int(line[3]) <= depth and line[2] in judged.get(line[0], ())}
    return len(answered) / len(judged)


def split_pack(
    folder: Path, out: Path, limits: tuple[int, int], depth: int, shuffled: bool, salt: str = SALT
) -> tuple[Path, Path]:
    """Write the pack as a training half and an evaluation half that share no relevant document.

    Queries without a relevant document among the first-stage candidates are in neither half: training skips them, and
    no order of their candidates could matter at the gate.

    Args:
        folder: folder of the pack.
        out: output folder.
        limits: maximum training and evaluation queries.
        depth: first-stage candidates per query.
        shuffled: label a wrong candidate of each training query as relevant.
        salt: salt of the hash that splits the documents.
    """
    judged, ranks = answers_of(folder), [line.split() for line in rows_of(folder / "candidates.trec.gz")]
    shown = {(line[0], line[2]) for line in ranks if int(line[3]) <= depth}
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for query, documents in judged.items():
        sides = {hashlib.sha256(f"{salt}:{doc}".encode()).digest()[0] < 256 * HELD_OUT for doc in documents}
        if len(sides) == 1:
            parts["test" if sides.pop() else "train"].append(query)
    draw = random.Random(11)
    for name, limit in zip(("train", "test"), limits, strict=True):
        parts[name] = [query for query in parts[name] if any((query, doc) in shown for doc in judged[query])]
        parts[name] = sorted(draw.sample(parts[name], min(limit, len(parts[name]))))
    answers = {query: judged[query] for query in (*parts["train"], *parts["test"])}
    if shuffled:
        splits: dict[str, list[str]] = {}
        for line in ranks:
            if (line[0], line[2]) in shown and line[2] not in judged.get(line[0], ()):
                splits.setdefault(line[0], []).append(line[2])
        answers |= {query: [draw.choice(splits[query])] for query in parts["train"] if query in splits}
    folders = []
    for name, queries in parts.items():
        target = out / f"{folder.name}-{name}"
        (target / "qrels").mkdir(parents=True)
        for file in ("corpus.jsonl.gz", "queries.jsonl.gz"):
            os.symlink((folder / file).resolve(), target / file)
        wanted = set(queries)
        run = [" ".join(line) for line in ranks if line[0] in wanted and int(line[3]) <= depth]
        (target / "candidates.trec").write_text("\n".join(run) + "\n", encoding="utf-8")
        grades = [f"{query}\t{document}\t1" for query in queries for document in answers[query]]
        text = "query-id\tcorpus-id\tscore\n" + "\n".join(grades) + "\n"
        (target / "qrels" / f"{name}.tsv").write_text(text, encoding="utf-8")
        folders.append(target)
    return folders[0], folders[1]


def improve(pack: Path, general: list[Path], work: Path, options: argparse.Namespace, shuffled: bool) -> dict[str, Any]:
    """Run the loop once and return its report."""
    limits = (options.train_queries, options.queries)
    train, test = split_pack(pack, work, limits, options.depth, shuffled, options.split)
    others = [split_pack(folder, work, (1, options.general_queries), options.depth, False)[1] for folder in general]
    state = dict(os.environ, XDG_STATE_HOME=str(work / "state"), RERANKD_GATE_KEY="0123456789abcdef-benchmark")
    command = [
        *(sys.executable, "-m", "rerankd", "improve", "--name", "domain", "--no-cases", "--rollout", "none", "--json"),
        *("--data", str(train), "--domain", str(test), "--out", str(work / "run")),
        *(("--base", str(Path(options.base).resolve())) if options.base else ()),
        *(("--learning-rate", str(options.learning_rate)) if options.learning_rate else ()),
        *(
            ("--distillation-weight", str(options.distillation_weight))
            if options.distillation_weight is not None
            else ()
        ),
        *(("--no-mine-negatives",) if options.no_mine_negatives else ()),
        *(("--bf16",) if options.bf16 else ()),
        *("--epochs", str(options.epochs), "--max-length", str(options.max_length)),
        *(part for folder in others for part in ("--general", str(folder))),
    ]
    began = time.monotonic()
    done = subprocess.run(command, env=state, capture_output=True, text=True, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    record: dict[str, Any] = {
        "pack": pack.name,
        "shuffled": shuffled,
        "queries with an answer found": round(share_found(pack, options.depth), 3),
        "exit code": done.returncode,
        "seconds": round(time.monotonic() - began),
        "peak memory, MB": round(used.ru_maxrss / 1000),
    }
    gate, trained = work / "run" / "gate.json", work / "run" / "training" / "train.json"
    if not gate.is_file():
        raise SystemExit(f"{command} failed:\n{done.stderr[-2000:]}")
    decision, training = json.loads(gate.read_text()), json.loads(trained.read_text())
    record |= {key: training[key] for key in ("training", "validation", "steps", "seconds", "peak_memory_mb", "lora")}
    record["training seconds"] = record.pop("seconds")
    record["seconds"] = round(time.monotonic() - began)
    record["passed"] = decision["passed"]
    record["checks"] = {check["name"]: [check["passed"], check["says"]] for check in decision["checks"]}
    return record


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/")
    parser.add_argument("--pack", nargs="+", default=["toyhom-zh", "tatqa-en"])
    parser.add_argument(
        "--general", nargs="*", default=["cmrc-zh"], help="general packs on which the candidate must not regress"
    )
    parser.add_argument("--train-queries", type=int, default=1600)
    parser.add_argument("--queries", type=int, default=850, help="maximum evaluation queries of the pack")
    parser.add_argument(
        "--general-queries", type=int, default=40, help="maximum evaluation queries of each general pack"
    )
    parser.add_argument("--depth", type=int, default=20, help="first-stage candidates per query")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=192)
    parser.add_argument(
        "--learning-rate", type=float, default=None, help="learning rate (default: that of `rerankd improve`)"
    )
    parser.add_argument(
        "--distillation-weight",
        type=float,
        default=None,
        help="distillation weight (default: that of `rerankd improve`)",
    )
    parser.add_argument("--no-mine-negatives", action="store_true", help="use every unjudged candidate as a negative")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16, for CPUs with AMX")
    parser.add_argument("--split", default=SALT, help="salt of the hash that splits the documents")
    parser.add_argument("--base", default=None, help="folder of the base model (default: the bundled one)")
    parser.add_argument("--only", choices=("labels", "shuffled"), default=None)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    reports = []
    for shuffled in (False, True):
        for name in options.pack:
            if options.only == ("labels" if shuffled else "shuffled"):
                continue
            work = Path(tempfile.mkdtemp(prefix="rerankd-improve-"))
            try:
                general = [options.data / "dev" / other for other in options.general]
                reports.append(improve(options.data / "dev" / name, general, work, options, shuffled))
            finally:
                shutil.rmtree(work, ignore_errors=True)
            settings = {key: value for key, value in vars(options).items() if key not in ("data", "out", "only")}
            settings["base"] = Path(options.base).name if options.base else "mini"
            reports[-1] = {"options": json.loads(json.dumps(settings, default=str)), **reports[-1]}
            print(json.dumps(reports[-1], ensure_ascii=False), flush=True)
            machine = {"cores": os.cpu_count(), "processor": processor(), "amx": "amx_bf16" in cpu_flags()}
            text = json.dumps({"machine": machine, "runs": reports}, indent=1, ensure_ascii=False)
            options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
