"""The cost of ten thousand rule terms for a request of fifty documents: `python -m benchmarks.rules`."""

from __future__ import annotations

import json
import os
import platform
import random
import time
from typing import Any

from benchmarks import RESULTS
from benchmarks.timings import percentile
from rerankd.rules.rule_file import parse_rules
from rerankd.types import Document

RESULT = RESULTS / "rules.json"
TERMS, DOCUMENTS, CHARACTERS, REQUESTS = 10_000, 50, 600, 400
HAN = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"


def texts(draw: random.Random, words: list[str], count: int) -> list[str]:
    """Return texts, half Chinese and half English, in which one word of twenty is a term of a rule."""
    common = ["".join(draw.choices("xyzq", k=draw.randint(3, 8))) for _ in range(200)]
    documents = []
    for position in range(count):
        pieces: list[str] = []
        while sum(map(len, pieces)) < CHARACTERS:
            filler = (
                "".join(draw.choices("丁七万丈三上下不与丑专且世丘丙业丛东丝", k=9))
                if position % 2
                else draw.choice(common)
            )
            pieces.append(draw.choice(words) if draw.random() < 0.05 else filler)
        documents.append(("" if position % 2 else " ").join(pieces))
    return documents


def measure(shape: str) -> dict[str, Any]:
    """Return the milliseconds of a request: all terms in one rule with weights, or a rule for each term."""
    draw = random.Random(5)
    latin = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=draw.randint(4, 10))) for _ in range(TERMS // 2)]
    words = list(dict.fromkeys([*latin, *("".join(draw.choices(HAN, k=draw.randint(3, 5))) for _ in range(TERMS))]))
    words = draw.sample(words, TERMS)
    if shape == "one rule":
        weights = ", ".join(f"{word}: {draw.uniform(0.1, 1):.2f}" for word in words)
        content = f"rules:\n  - {{name: all, documents: {{terms: {{{weights}}}}}, boost: 0.5}}\n"
    else:
        lines = [f"  - {{name: r{i}, documents: {{terms: [{word}]}}, boost: 0.1}}" for i, word in enumerate(words)]
        content = "rules:\n" + "\n".join(lines) + "\n"
    began = time.perf_counter()
    rules = parse_rules(content.encode())
    reading = (time.perf_counter() - began) * 1000
    requests = [[Document(text) for text in texts(draw, words, DOCUMENTS)] for _ in range(20)]
    times, fired = [], 0
    for number in range(REQUESTS):
        began = time.perf_counter()
        adjustments = rules.adjustments("手机 warranty question", requests[number % len(requests)])
        times.append((time.perf_counter() - began) * 1000)
        fired += sum(len(one.matched_rules) for one in adjustments)
    return {
        "shape": shape,
        "read_ms": round(reading, 1),
        "p50_ms": round(percentile(times, 0.5), 3),
        "p95_ms": round(percentile(times, 0.95), 3),
        "fired_per_request": round(fired / REQUESTS, 1),
    }


def main() -> None:
    """Run the benchmark, print and write the results."""
    rows = [measure("one rule"), measure("a rule for each term")]
    result = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "terms": TERMS,
        "documents": DOCUMENTS,
        "characters": CHARACTERS,
        "rows": rows,
    }
    print(json.dumps(result, indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
