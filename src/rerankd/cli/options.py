"""Flags that several commands share, and the reranker they configure."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic.fields import FieldInfo

from rerankd._common.instruction import IGNORED
from rerankd._common.logging import logger
from rerankd.cli.output import say, stderr
from rerankd.models.reference import short_name
from rerankd.reranker import Reranker
from rerankd.settings import Settings, settings_file, unknown_variables

if TYPE_CHECKING:
    from rerankd.traces.replay import Score

_log = logger(__name__)

NoActivation = Annotated[bool, typer.Option("--no-activation", help="Return logits instead of scores from 0 to 1.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON lines, also on a terminal.")]
Index = Annotated[str | None, typer.Option("--index", "-i", help="Folder of the index.  [default: setting index]")]

Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File of settings.  [default: the environment variable RERANKD_CONFIG, else rerankd.toml in this folder]",
        dir_okay=False,
    ),
]

MODEL_FLAGS = (
    "model",
    "precision",
    "device",
    "backend",
    "max_batch_tokens",
    "max_length",
    "truncation",
    "long_documents",
    "instruction",
    "threads",
    "compile",
)


def setting_flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one flag for each named setting; the command takes them as `**flags` for `load_settings`.

    Names, values and help texts come from `Settings`, so flags, environment variables and `rerankd.toml` agree.

    Args:
        names: settings, in the order of the help page.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = [
            p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD
        ]
        parameters += [_setting_flag(name, Settings.model_fields[name]) for name in names]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def say_sources(config: Path | None) -> None:
    """Name the file that the settings are read from, and the environment variables that name no setting."""
    path = settings_file(config)
    found = f"{path.resolve()}" if path.exists() else f"defaults; there is no {path.resolve()}"
    stderr().print(f"settings {found}", markup=False, highlight=False, soft_wrap=True)
    for name, meant in unknown_variables():
        hint = f" Did you mean {meant}?" if meant else ""
        _log.warning("The environment variable %s names no setting and is ignored.%s", name, hint)


def _setting_flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """Return the parameter of a setting; its value stays text and is validated by `Settings`."""
    flag = f"--{name.replace('_', '-')}"
    short = {"model": ["-m"]}.get(name, [])
    kind: Any = str | None
    if field.annotation is bool:
        option = typer.Option(f"{flag}/--no-{name.replace('_', '-')}", help=_help(field))
        kind = bool | None
    else:
        option = typer.Option(flag, *short, help=_help(field), show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _help(field: FieldInfo) -> str:
    description = field.description or ""
    default = field.get_default(call_default_factory=True)
    shown = "" if default in (None, "", [], {}) or isinstance(default, bool) else f"  [default: {default}]"
    return f"{description[:1].upper()}{description[1:]}.{shown}"


def open_reranker(settings: Settings) -> Reranker:
    """Return a reranker with these settings; say if the model does not read the instruction that they give it."""
    from rerankd.wiring.engine import default_instruction

    instruction = default_instruction(settings, settings.model, short_name(settings.model))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".*{IGNORED}")
        reranker = _open_reranker(settings, instruction)
    if instruction is not None and not reranker.takes_instruction:
        say(f"{reranker.model}: {IGNORED}.")
    return reranker


def _open_reranker(settings: Settings, instruction: str | None) -> Reranker:
    return Reranker(
        settings.model,
        backend=settings.backend,
        device=settings.device,
        precision=settings.precision or "auto",
        max_length=settings.max_length,
        truncation=settings.truncation,
        long_documents=settings.long_documents,
        chunk_overlap=settings.chunk_overlap,
        max_chunks=settings.max_chunks,
        instruction=instruction,
        max_batch_tokens=settings.max_batch_tokens,
        threads=settings.threads,
        compile=settings.compile,
        cache_dir=settings.cache_dir,
        registry=settings.registry,
        rules=settings.rules,
    )


def lazy_logits(settings: Settings) -> Score:
    """Return the function of `logits_of` for a reranker that is opened at the first call."""
    reranker = functools.cache(lambda: open_reranker(settings))

    def score(query: str, texts: Sequence[str], instruction: str | None = None) -> Sequence[float]:
        return logits_of(reranker())(query, texts, instruction)

    return score


def logits_of(reranker: Reranker) -> Score:
    """Return a function that computes the logits of a query with each text, for an instruction or the default one."""

    def score(query: str, texts: Sequence[str], instruction: str | None = None) -> Sequence[float]:
        pairs = [(query, text) for text in texts]
        logits: list[float] = reranker.score(pairs, activation="none", instruction=instruction).tolist()
        return logits

    return score
