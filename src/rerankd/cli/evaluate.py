"""`rerankd eval`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate_tables import print_tables
from rerankd.cli.output import stderr, stdout, wants_json, write_rows
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import Dataset, DatasetOptions, SearchFunction, check_file_count, open_dataset
from rerankd.evaluation.evaluation import Evaluation, evaluate
from rerankd.evaluation.measures import DEFAULT_MEASURES, check_measures
from rerankd.evaluation.report.page import write_report
from rerankd.evaluation.report.report import render_report
from rerankd.evaluation.retrieval_run import index_search
from rerankd.evaluation.run import (
    FIRST_STAGE,
    RankingRun,
    external_run,
    first_stage_run,
    fuse_with_first_stage,
    rerank_dataset,
)
from rerankd.evaluation.summary import QUERIES_SHOWN, result_rows
from rerankd.evaluation.trec import Rankings, read_run, write_run
from rerankd.ranking.order import checked_fusion
from rerankd.settings import Settings, load_settings
from rerankd.wiring.retrieval import open_embedder

EXIT_BELOW = 9

Data = Annotated[list[Path], typer.Option("--data", metavar="DIR", help="Folder in BEIR format; repeatable.")]
Candidates = Annotated[
    list[Path] | None,
    typer.Option(metavar="RUN", help="Run of the first stage, one per --data.  [default: candidates.trec, or BM25]"),
]
Qrels = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Relevance judgements, one per --data.  [default: qrels.tsv]")
]
MaxQueries = Annotated[
    int | None, typer.Option(min=1, help="Most queries per folder, as a fixed sample.  [default: all]")
]
Depth = Annotated[int | None, typer.Option(min=1, help="Most candidates per query.  [default: all]")]


@options.setting_flags(
    "precision",
    "device",
    "backend",
    "max_batch_tokens",
    "max_length",
    "truncation",
    "long_documents",
    "instruction",
    "threads",
)
def evaluate_command(
    data: Data,
    candidates: Candidates = None,
    qrels: Qrels = None,
    models: Annotated[
        str | None, typer.Option(metavar="REF,...", help="Models to rerank with.  [default: setting model]")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Run to compare, or a folder written by --save-runs; repeatable."),
    ] = None,
    with_first_stage: Annotated[
        bool,
        typer.Option("--first-stage/--no-first-stage", help="Also evaluate the candidates in their original order."),
    ] = True,
    retrieve: Annotated[
        bool,
        typer.Option("--retrieve", help="Index the corpus and retrieve candidates from it, like `rerankd search`."),
    ] = False,
    fusion: Annotated[
        str | None, typer.Option(help="Also evaluate models fused with the first stage: weighted or rrf.")
    ] = None,
    fusion_weight: Annotated[
        float | None, typer.Option(min=0, max=100, help="Weight of the first stage, relative to 1 for the model.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(metavar="NAME", help="System that others are compared with.  [default: the first stage]")
    ] = "",
    measures: Annotated[
        str, typer.Option(metavar="NAME,...", help="Measures by their ir_measures names; the first one is tested.")
    ] = ",".join(DEFAULT_MEASURES),
    max_queries: MaxQueries = None,
    depth: Depth = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained HTML report.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="Number of best and worst queries to show.")] = QUERIES_SHOWN,
    save_runs: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the runs of all systems.")] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(metavar="DELTA", help="Exit with code 9 if the lower 95 % bound of a difference is below this."),
    ] = None,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Evaluate rankings: does reranking help, on which queries, and is the difference significant.

    Exit code 9: with --fail-below, the lower bound of a comparison is below it.
    """
    settings = load_settings(**flags)
    measure_names = check_measures(split(measures))
    references = split(models) if models is not None else [] if runs else [settings.model]
    given_runs = _runs(runs or [], data)
    search = index_search(open_embedder(settings)) if retrieve else None
    datasets = open_datasets(
        *(data, candidates, qrels, max_queries, depth, bool(references), with_first_stage or bool(references)),
        *(given_runs, search),
    )
    systems: list[list[RankingRun]] = [[first_stage_run(dataset)] if with_first_stage else [] for dataset in datasets]
    for name, reference in zip(_names(references), references, strict=True):
        _add_model(name, settings.model_copy(update={"model": reference}), datasets, systems)
    if (fusion_options := checked_fusion(fusion, fusion_weight)) is not None:
        for dataset, runs_of_dataset in zip(datasets, systems, strict=True):
            runs_of_dataset += [
                fuse_with_first_stage(system, dataset, fusion_options)
                for system in runs_of_dataset
                if system.logits is not None
            ]
    for dataset, runs_of_dataset, rankings_by_name in zip(datasets, systems, given_runs, strict=True):
        runs_of_dataset += [external_run(name, rankings, dataset) for name, rankings in rankings_by_name.items()]
    evaluation = evaluate(list(zip(datasets, systems, strict=True)), measure_names, baseline)
    if save_runs is not None:
        _save(save_runs, evaluation)
    if wants_json(as_json):
        write_rows(result_rows(evaluation, cases))
    else:
        print_tables(stdout(), evaluation, cases)
    if html is not None:
        write_report(html, render_report(evaluation, cases))
        stderr().print(f"Report: {html}", highlight=False, soft_wrap=True)
    _judge(evaluation, fail_below)


def split(names: str) -> list[str]:
    """Split names at commas; commas inside brackets belong to a name."""
    parts, depth = [""], 0
    for char in names:
        depth += (char in "({") - (char in ")}")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def open_datasets(
    data: Sequence[Path],
    candidates: Sequence[Path] | None,
    qrels: Sequence[Path] | None,
    max_queries: int | None,
    depth: int | None,
    texts: bool,
    candidates_needed: bool,
    extra: Sequence[dict[str, Rankings]],
    search: SearchFunction | None = None,
) -> list[Dataset]:
    """Open data folders, with a notice where the first stage is a substitute."""
    check_file_count(len(data), len(candidates or ()), "--candidates")
    check_file_count(len(data), len(qrels or ()), "--qrels")
    names = [folder.resolve().name for folder in data]
    if len(set(names)) < len(names):
        raise InvalidRequestError("Two data folders have the same name.", hint="Rename one of them.")
    datasets = []
    for number, folder in enumerate(data):
        dataset_options = DatasetOptions(
            candidates[number] if candidates else None,
            qrels[number] if qrels else None,
            max_queries,
            depth,
            texts,
            candidates_needed,
            search,
        )
        datasets.append(open_dataset(folder, dataset_options, list(extra[number].values()) if extra else []))
        if datasets[-1].generated_candidates and candidates_needed:
            stderr().print(
                f"{datasets[-1].name}: no candidates.trec; first stage: {datasets[-1].first_stage}.", style="dim"
            )
        for notice in datasets[-1].notices:
            stderr().print(f"{datasets[-1].name}: {notice}", style="yellow", highlight=False, soft_wrap=True)
    return datasets


def _runs(paths: Sequence[Path], data: Sequence[Path]) -> list[dict[str, Rankings]]:
    """Return rankings by name for each data folder."""
    rankings: list[dict[str, Rankings]] = [{} for _ in data]
    for path in paths:
        if not path.is_dir() and len(data) > 1:
            raise InvalidRequestError(
                f"{path} is a single run, but there are {len(data)} data folders.",
                hint="Pass a folder written by --save-runs.",
            )
        for by_name, folder in zip(rankings, data, strict=True):
            for file in _run_files(path, folder.resolve().name):
                name = file.name.removesuffix(".gz").rsplit(".", 1)[0]
                if path.is_dir() and name == FIRST_STAGE:
                    continue
                if name in by_name:
                    raise InvalidRequestError(f"Two runs have the name {name}.", hint="Rename one of the files.")
                by_name[name] = read_run(file)
    return rankings


def _run_files(path: Path, dataset: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    folder = path / dataset
    if not (files := sorted(file for file in folder.glob("*.trec*") if file.is_file())):
        raise InvalidInputFileError(
            f"{folder} contains no runs.",
            hint="Runs are expected in DIR/DATASET/NAME.trec, as --save-runs writes them.",
        )
    return files


def _names(references: Sequence[str]) -> list[str]:
    """Return display names of models: references as given, folders by as much of their path as tells them apart."""
    names: list[str] = []
    for reference in references:
        name = _folder_name(reference, references) if Path(reference).is_dir() else reference
        same = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names


def _folder_name(folder: str, references: Sequence[str]) -> str:
    path = Path(folder).resolve()
    others = {Path(other).resolve() if Path(other).is_dir() else Path(other) for other in references} - {path}
    for length in range(1, len(path.parts)):
        if not any(other.parts[-length:] == path.parts[-length:] for other in others):
            return "/".join(path.parts[-length:])
    return str(path)


def _add_model(name: str, settings: Settings, datasets: Sequence[Dataset], systems: list[list[RankingRun]]) -> None:
    reranker = options.open_reranker(settings)
    for dataset, runs in zip(datasets, systems, strict=True):
        with progress_bar(f"{name} on {dataset.name}", sys.stderr.isatty()) as advance:
            runs.append(rerank_dataset(name, reranker, dataset, advance))


def _save(folder: Path, evaluation: Evaluation) -> None:
    for result in evaluation.results:
        target = folder / result.dataset.name
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequestError(
                f"{target} cannot be created ({error.strerror}).", hint="Check the path."
            ) from error
        for measured in result.runs:
            name = measured.run.name.replace("/", "_")
            write_run(target / f"{name}.trec", measured.run.rankings, name)


def _judge(evaluation: Evaluation, limit: float | None) -> None:
    if limit is None or not (below := evaluation.below(limit)):
        return
    for dataset, comparison in below:
        stderr().print(
            f"Below {limit:+}: {comparison.run} against {comparison.baseline} on {dataset}: "
            f"{evaluation.measures[0]} {comparison.deltas[0].mean:+.4f}, lower bound {comparison.deltas[0].low:+.4f}.",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(EXIT_BELOW)
