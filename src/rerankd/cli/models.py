"""`rerankd models`: list, families, show, verify and compile; `rerankd.cli.registry` has the registry commands."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from rerankd._common.plural import counted
from rerankd.cli import options, registry
from rerankd.cli.output import cell, stderr, stdout, wants_json, write_rows
from rerankd.compiler.compile import DEFAULT_PAIRS, PRECISIONS, CompileOptions, compile_model
from rerankd.models.families import FAMILIES
from rerankd.models.files import ModelFiles, load_model
from rerankd.models.hub import cached_models
from rerankd.models.manifest import FILE_NAME
from rerankd.models.reference import BUNDLED, bundled_folder
from rerankd.settings import load_settings

app = typer.Typer(help="List, verify, compile and register models.", no_args_is_help=True)
app.command()(registry.register)
app.command()(registry.promote)
app.command()(registry.rollback)
app.command()(registry.history)
app.command()(registry.diff)
Reference = Annotated[
    str, typer.Argument(metavar="REF", help="mini, a folder, org/name[@revision], or registry:NAME[@ALIAS].")
]


@app.command("list")
def list_models(as_json: options.Json = False) -> None:
    """List models on this machine: bundled ones, and cross-encoders in the hub's cache."""
    rows = [_summary(load_model(name)) | {"where": "bundled"} for name in BUNDLED if bundled_folder(name).is_dir()]
    rows += [{"name": name, "where": "hub cache", "path": str(path)} for name, path in cached_models()]
    if wants_json(as_json):
        write_rows(rows)
        return
    table = Table("model", "where", "parameters", "precision", "max length", "size")
    for row in rows:
        table.add_row(
            row["name"],
            row["where"],
            _millions(row.get("parameters")),
            row.get("precision", ""),
            str(row.get("max_length", "")),
            _megabytes(row.get("bytes")),
        )
    stdout().print(table)


@app.command()
def families(as_json: options.Json = False) -> None:
    """List the families of models that rerankd computes, with examples and what is supported for each."""
    rows: list[dict[str, Any]] = [
        {
            "name": family.name,
            "classes": list(family.classes),
            "examples": list(family.examples),
            "languages": family.languages,
            "licence": family.licence,
            "length": family.length,
            "instruction": family.instruction,
            "torch": True,
            "compiled": family.compiled,
            "trained": family.trained,
        }
        for family in FAMILIES.values()
    ]
    if wants_json(as_json):
        write_rows(rows)
        return
    table = Table(show_lines=True)
    for name in ("family", "examples", "languages, tokens, licence", "supported"):
        table.add_column(name, overflow="fold")  # names are copied, so none is cut
    for row in rows:
        table.add_row(
            _lines([row["name"], *row["classes"]]),
            _lines(row["examples"]),
            _lines([row["languages"], row["length"], row["licence"]]),
            _lines([name for name in ("torch", "compiled", "trained", "instruction") if row[name]]),
        )
    stdout().print(table)


def _lines(texts: Sequence[str]) -> Text:
    """Return the cell of a table with a text on each line."""
    return Text("\n").join(cell(text) for text in texts if text)


@app.command()
def show(reference: Reference, as_json: options.Json = False) -> None:
    """Show architecture, size, source and verification of a model."""
    files = _load(reference)
    if wants_json(as_json):
        write_rows([_summary(files) | {"manifest": dataclasses.asdict(files.manifest)}])
        return
    table = Table(show_header=False)
    for name, value in _summary(files).items():
        table.add_row(name, cell(str(value)))
    for name, value in (files.manifest.parity or {}).items():
        table.add_row(f"verification: {name}", str(value))
    stdout().print(table)
    card = files.folder / "README.md"
    if card.is_file():
        stdout().print(f"Model card: {card}", style="dim", highlight=False)


@app.command()
def verify(reference: Reference) -> None:
    """Verify the files of a model: hashes, weights and tokenizer."""
    files = _load(reference)
    files.tokenizer()
    if files.manifest.files:
        summary = (
            f"{counted(len(files.manifest.files), 'file matches its', 'files match their')} SHA-256 in {FILE_NAME}"
        )
    else:
        summary = f"all weights have the expected shape; there is no {FILE_NAME} with hashes to compare"
    stdout().print(f"{files.manifest.name}: {summary}.", highlight=False)
    parity = files.manifest.parity
    if parity and parity.get("waived"):
        stderr().print("Its verification failed when it was compiled, and was waived.", style="yellow")


@app.command("compile")
def compile_command(
    reference: Reference,
    out: Annotated[Path, typer.Option(help="Folder for the compiled model.")],
    precision: Annotated[str, typer.Option(help=f"{' or '.join(PRECISIONS)}.")] = "int8",
    embedding_precision: Annotated[
        str, typer.Option(help="Precision of the word embeddings of an int8 model: int8, or int4 at half the size.")
    ] = "int8",
    words: Annotated[str | None, typer.Option(hidden=True, help="Old name of --embedding-precision.")] = None,
    pairs: Annotated[
        Path, typer.Option(help="File with lines of query<TAB>document to verify on.", show_default=False)
    ] = DEFAULT_PAIRS,
    min_kendall_tau: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="Rank correlation required by the verification.  [default: 0.999 for fp32, 0.9 for int8]",
        ),
    ] = None,
    waive: Annotated[
        bool,
        typer.Option(
            "--waive-verification", help="Keep the model even if verification fails; the manifest records it."
        ),
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the compiled model.  [default: the source's name]")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model folder.")] = False,
    as_json: options.Json = False,
) -> None:
    """Compile a checkpoint to ONNX and verify that it ranks like its source."""
    console = stderr()
    files = _load(reference)
    with console.status("Checking the source") as status:

        def step(sentence: str) -> None:
            status.update(sentence)
            console.print(f"· {sentence}", style="dim", highlight=False)

        compile_options = CompileOptions(
            precision, words or embedding_precision, pairs, min_kendall_tau, name=name, waive=waive, force=force
        )
        manifest = compile_model(files, out, compile_options, step)
    parity = dict(manifest.parity or {})
    if wants_json(as_json):
        write_rows([{"out": str(out), "precision": precision} | parity])
        return
    table = Table(show_header=False, title=f"{manifest.source} -> {out} ({precision})")
    for name, value in parity.items():
        table.add_row(name, str(value))
    stdout().print(table)
    if parity.get("waived"):
        console.print("Verification failed and was waived; rerankd.json records it.", style="yellow")


def _load(reference: str) -> ModelFiles:
    settings = load_settings()
    return load_model(reference, cache_dir=settings.cache_dir, registry=settings.registry)


def _summary(files: ModelFiles) -> dict[str, Any]:
    manifest, architecture = files.manifest, files.manifest.architecture
    return {
        "name": manifest.name,
        "family": architecture.family,
        "shape": f"{architecture.layers} layers x {architecture.hidden}",
        "parameters": architecture.parameters,
        "precision": manifest.precision,
        "max_length": manifest.max_length,
        "instruction": manifest.template.takes_instruction,
        "bytes": files.size,
        "compiled": files.compiled,
        "adapter_of": str(files.base.reference) if files.base else "",
        "source": manifest.source,
        "revision": manifest.revision,
        "licence": manifest.licence,
        "folder": str(files.folder),
        "template": json.dumps(dataclasses.asdict(manifest.template)),
    }


def _millions(parameters: int | None) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters else ""


def _megabytes(size: int | None) -> str:
    return f"{size / 1e6:.1f} MB" if size else ""
