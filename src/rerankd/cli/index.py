"""`rerankd index`: index documents, list the indexed files, and show a file's passages as they were cut."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from rerankd._common.plural import counted
from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.output import EXIT_INCOMPLETE, cell, say, stderr, stdout, wants_json, write_rows
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.settings import load_settings

if TYPE_CHECKING:
    from rerankd.retrieval.ingest_report import IngestReport

MAX_NAMES = 10  # of files in one sentence


class IndexCommands(TyperGroup):
    """The commands, of which `add` may be left out: `rerankd index docs/` indexes a folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments, those of `add` too if they begin with no command."""
        return super().parse_args(ctx, args if ctx.resilient_parsing else self.with_command(args))

    def with_command(self, args: list[str]) -> list[str]:
        """Return arguments that begin with a command: `add` unless they name one."""
        is_command = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return args if is_command else ["add", *args]


app = typer.Typer(
    cls=IndexCommands,
    help="Index documents: `rerankd index PATH...`, in full `rerankd index add PATH...`. List and show what is in it.",
    rich_markup_mode=None,
)


@app.command()
def add(
    paths: Annotated[
        list[Path], typer.Argument(help="Files and folders: txt, md, html, pdf, docx, csv, jsonl, parquet.")
    ],
    folder: options.Index = None,
    tokens: Annotated[int, typer.Option(help="Most tokens per passage.")] = 256,
    overlap: Annotated[int, typer.Option(help="Most tokens shared by neighbouring passages.")] = 32,
    field: Annotated[str | None, typer.Option(help="Column or key with the text, for csv, jsonl and parquet.")] = None,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest document in MB.")] = 100.0,
    keep_gone: Annotated[
        bool, typer.Option("--keep-gone", help="Keep passages of files that no longer exist.")
    ] = False,
    delimiter: Annotated[
        str | None, typer.Option(help="Character between columns, for csv and tsv.  [default: detected]")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow symbolic links out of the given folders.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Index documents; unchanged files are not read again, and passages of deleted files are removed.

    Exit code 7: finished, but some files were skipped or only partly read. Exit code 2: none could be read.
    """
    from rerankd.retrieval.ingest import IngestOptions, ingest
    from rerankd.retrieval.splitting import SplitOptions
    from rerankd.wiring.retrieval import open_index, open_token_offsets

    settings = load_settings(index=folder)
    ingest_options = IngestOptions(SplitOptions(tokens, overlap), field, max_mb, not keep_gone, follow_links, delimiter)
    store = open_index(settings)
    with progress_bar("indexing", sys.stderr.isatty()) as advance:
        report = ingest(paths, store, open_token_offsets(settings), ingest_options, advance)
        total = len(store)
    store.close()
    if wants_json(as_json):
        write_rows([_report_row(report, total)])
    _print_report(report, total)
    if report.errors or report.partly_read:
        raise typer.Exit(EXIT_INCOMPLETE if _in_index(report) else 2)


@app.command()
def ls(folder: options.Index = None, as_json: options.Json = False) -> None:
    """List the indexed files with their number of passages."""
    from rerankd.wiring.retrieval import open_index

    store = open_index(load_settings(index=folder), create=False)
    complete, counts = store.files(), dict[str, int]()
    for (source, _), count in store.sources().items():
        counts[source] = counts.get(source, 0) + count
    store.close()
    rows = [
        {"source": source, "passages": counts.get(source, 0), "complete": source in complete}
        for source in sorted({*complete, *counts})
    ]
    if wants_json(as_json):
        write_rows(rows)
        return
    table = Table("file", "passages")
    for row in rows:
        table.add_row(cell(str(row["source"])), f"{row['passages']}{'' if row['complete'] else ' (incomplete)'}")
    stdout().print(table)
    say(f"{counted(len(rows), 'file')}, {counted(sum(counts.values()), 'passage')}.")


@app.command()
def show(
    file: Annotated[str, typer.Argument(help="The file, as `rerankd index ls` lists it, or the end of its path.")],
    folder: options.Index = None,
    as_json: options.Json = False,
) -> None:
    """Print the passages of FILE as they were cut."""
    from rerankd.wiring.retrieval import open_index

    store = open_index(load_settings(index=folder), create=False)
    source = _indexed_file(file, {*store.files(), *(name for name, _ in store.sources())})
    rows = [
        {name: row[name] for name in ("id", "source", "part", "text")} | {"metadata": orjson.loads(row["metadata"])}
        for row in store.rows(source)
    ]
    store.close()
    if wants_json(as_json):
        write_rows(rows)
        return
    for row in rows:
        stdout().print(_title(row), markup=False, highlight=False, style="bold", soft_wrap=True)
        stdout().print(f"{_visible(row['text'])}\n", markup=False, highlight=False, soft_wrap=True)
    say(f"{counted(len(rows), 'passage')}." if rows else "The file has no text.")


def _indexed_file(name: str, sources: Iterable[str]) -> str:
    """Return the indexed file that a name means: the whole path, or the end of one path only."""
    known = set(sources)
    path = Path(name).as_posix()
    matching = [path] if path in known else sorted(source for source in known if source.endswith(f"/{path}"))
    if not matching:
        raise NotFoundError(f"{name} is not in the index.", hint="List the files: rerankd index ls")
    if len(matching) > 1:
        raise InvalidRequestError(f"{name} may be {_names(matching, ' or ')}.", hint="Name one of them.")
    return matching[0]


def _title(row: Mapping[str, Any]) -> str:
    metadata = row["metadata"]
    places = [f"{label}{metadata[name]}" for name, label in _PLACES.items() if metadata.get(name)]
    return _visible(", ".join([f"[{row['part'] + 1}] {row['source']}", *places]).replace("\n", " "))


_PLACES = {"page": "p. ", "line": "line ", "id": "id ", "heading": ""}


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def _report_row(report: IngestReport, total: int) -> dict[str, Any]:
    counts = ("added", "changed", "unchanged", "removed", "empty", "passages", "hidden", "unsupported", "empty_files")
    return {
        **{name: getattr(report, name) for name in counts},
        "total": total,
        "kinds": dict(report.kinds),
        "errors": [{"source": source, "error": reason} for source, reason in report.errors],
        "partly_read": [{"source": source, "error": reason} for source, reason in report.partly_read],
        "links": [{"source": source, "target": target} for source, target in report.links],
        "lost_characters": report.lost_characters,
        "notes": [{"source": source, "note": note} for source, note in report.notes],
    }


def _print_report(report: IngestReport, total: int) -> None:
    _print_lines("skipped", report.errors)
    _print_lines("partly read", report.partly_read)
    _print_lines("followed", [(source, f"a symbolic link to {target}") for source, target in report.links])
    lost = ("character could not be decoded; it reads \ufffd", "characters could not be decoded; they read \ufffd")
    _print_lines("lost", [(source, counted(count, *lost)) for source, count in report.lost_characters.items()])
    _print_notes(report.notes)
    if report.empty_files:
        say(f"Without text: {_names(report.empty_files)}.")
    if report.unsupported:
        kinds = _counted(report.unsupported_kinds)
        say(f"Not supported: {counted(len(report.unsupported), 'file')} ({kinds}): {_names(report.unsupported)}.")
    if report.hidden:
        say(f"Left out: {counted(report.hidden, 'hidden file or folder', 'hidden files and folders')}.")
    if not (_in_index(report) or report.removed or report.errors):
        say("No file of a supported type was found there.")
        return
    if report.kinds:
        say(f"In the index: {_counted(report.kinds)}.")
    say(
        f"{counted(report.added, 'file')} added, {report.changed} changed, {report.unchanged} unchanged, "
        f"{report.removed} removed, {len(report.partly_read)} partly read, {len(report.errors)} skipped; "
        f"{counted(report.passages, 'new passage')}, {total} in total."
    )


def _in_index(report: IngestReport) -> int:
    """Return the number of files that are in the index, some of them in part."""
    return report.added + report.changed + report.unchanged + len(report.partly_read)


def _print_lines(word: str, rows: Iterable[tuple[str, str]]) -> None:
    for source, text in rows:
        _print_line(word, f"{cell(source, 200)}: {cell(text, 300)}")


def _print_notes(notes: Iterable[tuple[str, str]]) -> None:
    """Print the notes; one that several files have stands once."""
    sources: dict[str, list[str]] = {}
    for source, note in notes:
        sources.setdefault(note, []).append(source)
    _print_lines("note", [(names[0], note) for note, names in sources.items() if len(names) == 1])
    for note, names in sources.items():
        if len(names) > 1:
            _print_line("note", f"{counted(len(names), 'file')}: {cell(note, 300)} {_names(names)}")


def _print_line(word: str, text: str) -> None:
    """Print a line that begins with a coloured word; brackets in names of files are no markup."""
    stderr().print(Text.assemble((word, "yellow"), f" {text}"), highlight=False, soft_wrap=True)


def _counted(kinds: Mapping[str, int]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)


def _names(names: list[str], separator: str = ", ") -> str:
    rest = f"{separator}{len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return separator.join(cell(name, 200).plain for name in names[:MAX_NAMES]) + rest
