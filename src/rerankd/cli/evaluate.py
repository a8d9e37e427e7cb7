"""`rerankd eval`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate_tables import print_tables
from rerankd.cli.output import stderr, stdout, wants_json, write_rows
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import Dataset, DatasetOptions, Search, check_pairs, open_dataset
from rerankd.evaluation.evaluation import Evaluation, evaluate
from rerankd.evaluation.measures import DEFAULT_MEASURES, check_measures
from rerankd.evaluation.report.page import write_page
from rerankd.evaluation.report.report import report
from rerankd.evaluation.retrieval_run import searching
from rerankd.evaluation.run import FIRST_STAGE, System, first_stage, fused_with_first_stage, given, ranked_by
from rerankd.evaluation.summary import CASES, rows
from rerankd.evaluation.trec import Rankings, read_run, write_run
from rerankd.ranking.order import checked_fusion
from rerankd.settings import Settings, load_settings
from rerankd.wiring.retrieval import open_embedder

EXIT_BELOW = 9

Data = Annotated[
    list[Path], typer.Option("--data", metavar="DIR", help="Folder in BEIR's layout; may be given several times.")
]
Candidates = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RUN", help="The first stage's run, one for each --data.  [default: candidates.trec, or BM25]"
    ),
]
Qrels = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Judgements, one for each --data.  [default: qrels.tsv]")
]
MaxQueries = Annotated[
    int | None, typer.Option(min=1, help="Queries of each folder at most, the same sample every time.  [default: all]")
]
Depth = Annotated[int | None, typer.Option(min=1, help="Candidates of a query at most.  [default: all]")]


def evaluate_command(
    data: Data,
    candidates: Candidates = None,
    qrels: Qrels = None,
    models: Annotated[
        str | None, typer.Option(metavar="REF,...", help="Models to rerank with.  [default: the setting `model`]")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A run to compare, or a folder of them as --save-runs writes it."),
    ] = None,
    with_first_stage: Annotated[
        bool, typer.Option("--first-stage/--no-first-stage", help="Compare the candidates as they came, too.")
    ] = True,
    retrieve: Annotated[
        bool, typer.Option("--retrieve", help="Take candidates from an index of the corpus, as `rerankd search` does.")
    ] = False,
    fusion: Annotated[
        str | None, typer.Option(help="Measure models with the first stage counted in, too: weighted or rrf.")
    ] = None,
    fusion_weight: Annotated[float | None, typer.Option(min=0, max=100, help="Its weight; the model's is 1.")] = None,
    baseline: Annotated[
        str, typer.Option(metavar="NAME", help="What the others are compared with.  [default: the first stage]")
    ] = "",
    measures: Annotated[
        str, typer.Option(metavar="NAME,...", help="As ir_measures names them; the first is tested.")
    ] = ",".join(DEFAULT_MEASURES),
    max_queries: MaxQueries = None,
    depth: Depth = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report: one file, no network.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="Worst and best queries to show.")] = CASES,
    save_runs: Annotated[Path | None, typer.Option(metavar="DIR", help="Write every system's run.")] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(metavar="DELTA", help="Exit code 9 if a lower bound of the difference is under this."),
    ] = None,
    precision: options.Precision = None,
    device: options.Device = None,
    backend: options.Backend = None,
    batch_tokens: options.BatchTokens = None,
    max_length: options.MaxLength = None,
    truncation: options.Truncation = None,
    long_documents: options.LongDocuments = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Measure rankings, and say whether reranking helps, on which queries, and how surely.

    Exit code 9: with --fail-below, a comparison's lower bound is under it.
    """
    settings = load_settings(
        precision=precision,
        device=device,
        backend=backend,
        max_batch_tokens=batch_tokens,
        max_length=max_length,
        truncation=truncation,
        long_documents=long_documents,
        threads=threads,
    )
    wanted = check_measures(split(measures))
    references = split(models) if models is not None else [] if runs else [settings.model]
    given_runs = _runs(runs or [], data)
    search = searching(open_embedder(settings)) if retrieve else None
    datasets = open_datasets(
        *(data, candidates, qrels, max_queries, depth, bool(references), with_first_stage or bool(references)),
        *(given_runs, search),
    )
    systems: list[list[System]] = [[first_stage(dataset)] if with_first_stage else [] for dataset in datasets]
    for name, reference in zip(_names(references), references, strict=True):
        _add_model(name, settings.model_copy(update={"model": reference}), datasets, systems)
    if (how := checked_fusion(fusion, fusion_weight)) is not None:
        for dataset, own in zip(datasets, systems, strict=True):
            own += [fused_with_first_stage(system, dataset, how) for system in own if system.logits is not None]
    for dataset, own, found in zip(datasets, systems, given_runs, strict=True):
        own += [given(name, rankings, dataset) for name, rankings in found.items()]
    evaluation = evaluate(list(zip(datasets, systems, strict=True)), wanted, baseline)
    if save_runs is not None:
        _save(save_runs, evaluation)
    if wants_json(as_json):
        write_rows(rows(evaluation, cases))
    else:
        print_tables(stdout(), evaluation, cases)
    if html is not None:
        write_page(html, report(evaluation, cases))
        stderr().print(f"Report: {html}", highlight=False, soft_wrap=True)
    _judge(evaluation, fail_below)


def split(names: str) -> list[str]:
    """Names with commas between them; commas inside brackets belong to the name."""
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
    search: Search | None = None,
) -> list[Dataset]:
    """The folders, with a notice where the first stage is made up."""
    check_pairs(len(data), len(candidates or ()), "--candidates")
    check_pairs(len(data), len(qrels or ()), "--qrels")
    names = [folder.resolve().name for folder in data]
    if len(set(names)) < len(names):
        raise InvalidRequestError("Two data folders have the same name.", hint="Rename one: names keep them apart.")
    found = []
    for place, folder in enumerate(data):
        wanted = DatasetOptions(
            candidates[place] if candidates else None,
            qrels[place] if qrels else None,
            max_queries,
            depth,
            texts,
            candidates_needed,
            search,
        )
        found.append(open_dataset(folder, wanted, list(extra[place].values()) if extra else []))
        if found[-1].made_up and candidates_needed:
            stderr().print(f"{found[-1].name}: no candidates.trec; first stage: {found[-1].first_stage}.", style="dim")
    return found


def _runs(paths: Sequence[Path], data: Sequence[Path]) -> list[dict[str, Rankings]]:
    """Rankings by name, for each data folder."""
    found: list[dict[str, Rankings]] = [{} for _ in data]
    for path in paths:
        if not path.is_dir() and len(data) > 1:
            raise InvalidRequestError(
                f"{path} is one run for {len(data)} data folders.", hint="Pass a folder as --save-runs writes it."
            )
        for own, folder in zip(found, data, strict=True):
            for file in _run_files(path, folder.resolve().name):
                name = file.name.removesuffix(".gz").rsplit(".", 1)[0]
                if path.is_dir() and name == FIRST_STAGE:
                    continue
                if name in own:
                    raise InvalidRequestError(f"Two runs are called {name}.", hint="Rename one of the files.")
                own[name] = read_run(file)
    return found


def _run_files(path: Path, dataset: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    folder = path / dataset
    if not (files := sorted(file for file in folder.glob("*.trec*") if file.is_file())):
        raise InvalidInputFileError(
            f"{folder} holds no runs.",
            hint="Runs of a folder lie in DIR/DATASET/NAME.trec, as --save-runs writes them.",
        )
    return files


def _names(references: Sequence[str]) -> list[str]:
    """What models are called: as they were named, folders by their last part, a second one with its number."""
    names: list[str] = []
    for reference in references:
        name = Path(reference).resolve().name if Path(reference).is_dir() else reference
        same = sum(found == name or found.startswith(f"{name} (") for found in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names


def _add_model(name: str, settings: Settings, datasets: Sequence[Dataset], systems: list[list[System]]) -> None:
    reranker = options.open_reranker(settings)
    for dataset, own in zip(datasets, systems, strict=True):
        with progress_bar(f"{name} on {dataset.name}", sys.stderr.isatty()) as advance:
            own.append(ranked_by(name, reranker, dataset, advance))


def _save(folder: Path, evaluation: Evaluation) -> None:
    for result in evaluation.results:
        own = folder / result.dataset.name
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequestError(f"{own} cannot be made ({error.strerror}).", hint="Check the path.") from error
        for measured in result.systems:
            name = measured.system.name.replace("/", "_")
            write_run(own / f"{name}.trec", measured.system.rankings, name)


def _judge(evaluation: Evaluation, limit: float | None) -> None:
    if limit is None or not (below := evaluation.below(limit)):
        return
    for dataset, found in below:
        stderr().print(
            f"Below {limit:+}: {found.system} against {found.baseline} on {dataset}: "
            f"{evaluation.measures[0]} {found.deltas[0].mean:+.4f}, lower bound {found.deltas[0].low:+.4f}.",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(EXIT_BELOW)
