"""The first stage measured: 100,000 passages into an index, and questions to it: `python -m benchmarks.retrieval`.

Passages are drawn like texts of two languages: words by Zipf's law, half Latin, half Han. Questions are six words of a
passage. With `--data` also each stage of the pipeline on packs in BEIR's layout, as `rerankd eval --retrieve` does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.timings import percentile
from rerankd.retrieval.ingest import ingest
from rerankd.retrieval.lance import LanceIndex
from rerankd.settings import load_settings
from rerankd.wiring.retrieval import open_token_offsets

RESULT = RESULTS / "retrieval.json"
QUESTIONS = 300


class Corpus:
    """Random passages of about a hundred words, determined by the seed."""

    def __init__(self, seed: int = 7) -> None:
        self._draw = random.Random(seed)
        self._latin = [
            "".join(self._draw.choices("abcdefghijklmnoprstuvw", k=self._draw.randint(2, 10))) for _ in range(30_000)
        ]
        self._han = [chr(code) for code in range(0x4E00, 0x4E00 + 4000)]
        self._weights = {n: [1 / (rank + 5) for rank in range(n)] for n in (30_000, 4000)}

    def passage(self) -> str:
        """Return one passage."""
        if self._draw.random() < 0.5:
            return " ".join(self._draw.choices(self._latin, self._weights[30_000], k=self._draw.randint(60, 120)))
        return "".join(self._draw.choices(self._han, self._weights[4000], k=self._draw.randint(150, 300)))

    def question(self, passage: str) -> str:
        """Return a question of some of the passage's words."""
        if passage.isascii():
            words = passage.split()
            start = self._draw.randrange(max(1, len(words) - 6))
            return " ".join(words[start : start + 6])
        start = self._draw.randrange(max(1, len(passage) - 10))
        return passage[start : start + 10]


def measure(count: int) -> dict[str, Any]:
    """Index that many passages from a JSONL file, search, change one row of the file, and search again."""
    corpus = Corpus()
    with tempfile.TemporaryDirectory(prefix="rerankd-retrieval-") as name:
        folder = Path(name)
        passages = [corpus.passage() for _ in range(count)]
        (folder / "docs").mkdir()
        with (folder / "docs" / "rows.jsonl").open("w", encoding="utf-8") as file:
            for position, text in enumerate(passages):
                file.write(json.dumps({"id": str(position), "text": text}, ensure_ascii=False) + "\n")
        index = LanceIndex(folder / "index", create=True)
        began = time.perf_counter()
        report = ingest([folder / "docs"], index, open_token_offsets(load_settings()))
        spent = time.perf_counter() - began
        began = time.perf_counter()
        ingest([folder / "docs"], index, open_token_offsets(load_settings()))
        again = time.perf_counter() - began
        chosen = random.Random(8).sample(range(count), QUESTIONS)
        times, recalled = [], 0
        for position in chosen:
            question = corpus.question(passages[position])
            began = time.perf_counter()
            hits = index.search(question, 50)
            times.append((time.perf_counter() - began) * 1000)
            recalled += any(hit.metadata.get("id") == str(position) for hit in hits)
        size = sum(path.stat().st_size for path in (folder / "index").rglob("*") if path.is_file())
        return {
            "rows": count,
            "passages": report.passages,
            "index_seconds": round(spent, 1),
            "passages_per_second": round(report.passages / spent),
            "unchanged_seconds": round(again, 2),
            "index_mb": round(size / 1e6, 1),
            "text_mb": round(sum(len(text.encode()) for text in passages) / 1e6, 1),
            "p50_ms": round(percentile(times, 0.5), 2),
            "p95_ms": round(percentile(times, 0.95), 2),
            "found_in_50": round(recalled / QUESTIONS, 3),
        }


def stages(data: list[Path], model: str, queries: int) -> list[dict[str, Any]]:
    """Return recall and nDCG of each stage, measured with `rerankd eval`."""
    rows = []
    for folder in data:
        command = [
            *(sys.executable, "-m", "rerankd", "eval", "--data", str(folder), "--retrieve", "--models", model),
            *("--measures", "nDCG@10,R@50,RR@10", "--fusion", "weighted", "--max-queries", str(queries), "--json"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            row = json.loads(line)
            means = {name: round(value["mean"], 4) for name, value in row["measures"].items()}
            kept = {name: row[name] for name in ("dataset", "system", "description", "queries")}
            rows.append(kept | means | {"p95_ms": row.get("latency", {}).get("p95_ms")})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Run the benchmark, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--only-stages", action="store_true")
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["machine"] = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    result["load_average_at_start"] = round(os.getloadavg()[0], 1)
    if not args.only_stages:
        result["index"] = measure(args.rows)
        print(json.dumps(result["index"], indent=1), flush=True)
    if args.data:
        result["stages"] = stages(args.data, args.model, args.queries)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
