"""A domain that can be learned in seconds, and options of a run on it."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

from rerankd.evaluation.gate_record import GateLimits
from rerankd.improve.options import ImproveOptions
from rerankd.improve.resources import Resources
from rerankd.settings import Settings, load_settings
from rerankd.training.options import TrainOptions
from rerankd.wiring.experiments import open_experiments
from rerankd.wiring.registry import open_registry
from rerankd.wiring.traces import open_existing_trace_store

WORDS = ["river", "stone", "cloud", "window", "paper", "garden", "metal", "bread"]


def folder(root: Path, name: str, *, first: int, count: int, shuffled: bool = False) -> Path:
    """Return a BEIR folder: `yes indeed` answers every question and comes last at first, `no never` answers none."""
    draw = random.Random(name)
    target = root / name
    (target / "qrels").mkdir(parents=True)
    corpus, queries, qrels, run = [], [], ["query-id\tcorpus-id\tscore"], []
    for number in range(first, first + count):
        subject = f"{draw.choice(WORDS)} {draw.choice(WORDS)} {number}"
        queries.append({"_id": f"q{number}", "text": f"what of {subject}"})
        for position in range(6):
            text = f"yes indeed {subject}" if position == 5 else f"no never {draw.choice(WORDS)} {number} {position}"
            corpus.append({"_id": f"d{number}-{position}", "text": text})
            run.append(f"q{number} Q0 d{number}-{position} {position + 1} {10 - position} first")
        qrels.append(f"q{number}\td{number}-{draw.randrange(5) if shuffled else 5}\t1")
    (target / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (target / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (target / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
    (target / "candidates.trec").write_text("\n".join(run) + "\n")
    return target


def domain_folders(root: Path) -> Path:
    """Write the folders `learn`, `wrong` (labels shuffled) and `judge`, and return their parent."""
    folder(root, "learn", first=0, count=40)
    folder(root, "wrong", first=0, count=40, shuffled=True)
    folder(root, "judge", first=100, count=24)
    return root


def run_options(data: Path, out: Path, base: Path, examples: str = "learn", **changes: object) -> ImproveOptions:
    training = TrainOptions(
        "full",
        epochs=2,
        group_size=6,
        learning_rate=2e-3,
        max_length=32,
        precision="fp32",
        device="cpu",
        evaluations=2,
        patience=0,
        mine_negatives=False,
    )
    plan = ImproveOptions(
        f"domain-{out.name}",
        out,
        (data / examples,),
        (data / "judge",),
        base=str(base),
        cases=False,
        online="none",
        training=training,
        limits=GateLimits(latency=50.0, size=5.0, calibration=1.0),
    )
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


def resources(settings: Settings) -> Resources:
    return Resources(
        open_registry(settings),
        lambda: open_existing_trace_store(settings),
        lambda: open_experiments(settings),
        settings.gate_key,
    )


def improve_settings(folder: Path) -> Settings:
    """Return settings with a registry, traces and a cache below a folder."""
    return load_settings(
        registry=f"sqlite:///{folder}/mlflow.sqlite",
        traces_url=f"sqlite:///{folder}/traces.sqlite",
        cache_dir=str(folder / "cache"),
        gate_key="0123456789abcdef",
    )
