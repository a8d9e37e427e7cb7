"""Command lines in documents: found in a page, and read by the parser of the program without running anything."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from typer._click.exceptions import BadOptionUsage, ClickException  # typer carries its own click
from typer.main import get_command

from rerankd.cli.main import app

SEPARATORS = {"|", "||", "&", "&&", ";", "(", ")"}
FENCE = re.compile(r"^ *```.*?\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*=")


class WrongCommandError(Exception):
    """A command line that the program would refuse."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line in a page.

    Attributes:
        text: as it stands there.
        arguments: what follows `rerankd`.
        complete: False for a mention in running text, which may leave required arguments out.
    """

    text: str
    arguments: list[str]
    complete: bool


def command_lines(page: Path) -> Iterator[CommandLine]:
    """Return the command lines of `rerankd` in the blocks of a page, and those mentioned in running text."""
    text = page.read_text(encoding="utf-8")
    for block in FENCE.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            yield from _in_shell(line.strip().removeprefix("$ "), complete=True)
    for code in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        yield from _in_shell(code, complete=False)


def _in_shell(line: str, *, complete: bool) -> Iterator[CommandLine]:
    """Return the commands of `rerankd` in a line of a shell."""
    if "rerankd " not in line:
        return
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    try:
        tokens = list(words)
    except ValueError:  # a quotation mark of another language
        return
    comment = next((number for number, token in enumerate(tokens) if token.startswith("#")), len(tokens))
    command: list[str] = []
    for token in [*tokens[:comment], ";"]:
        if token not in SEPARATORS:
            command.append(token)
            continue
        while command and VARIABLE.match(command[0]):
            command.pop(0)
        if command and command[0] == "rerankd":
            yield CommandLine(line, _without_redirections(command[1:]), complete)
        command = []


def _without_redirections(tokens: list[str]) -> list[str]:
    kept: list[str] = []
    for token in tokens:
        if kept and kept[-1] in (">", ">>", "<", "2>"):
            kept.pop()
        else:
            kept.append(token)
    return kept


@cache
def _program() -> Any:
    return get_command(app)


def check(line: CommandLine) -> None:
    """Read a command line as the program would.

    Raises:
        WrongCommandError: there is no such command or option, a value is none, or something required is missing.
    """
    command, name, arguments = _program(), "rerankd", list(line.arguments)
    context: Any = None
    try:
        while True:
            context = command.context_class(command, info_name=name, parent=context)
            if arguments[:1] == ["[OPTIONS]"]:  # a usage line of the reference
                return
            if hasattr(command, "with_command") and arguments:
                arguments = command.with_command(arguments)
            values, arguments, _ = command.make_parser(context).parse_args(arguments)
            if not hasattr(command, "commands"):
                break
            if not arguments:
                if line.complete and not values:
                    raise WrongCommandError(f"{line.text}: no command")
                return
            name, *arguments = arguments
            if name not in command.commands:
                raise WrongCommandError(f"{line.text}: there is no command {name!r}")
            command = command.commands[name]
        if arguments and line.complete:
            raise WrongCommandError(f"{line.text}: {arguments} is too much")
        if line.complete:
            _check_values(command, context, values)
    except BadOptionUsage as error:
        if (
            line.complete or line.arguments[-1] != error.option_name
        ):  # in running text an option may stand without its value
            raise WrongCommandError(f"{line.text}: {error.format_message()}") from error
    except ClickException as error:
        raise WrongCommandError(f"{line.text}: {error.format_message()}") from error


def _check_values(command: Any, context: Any, values: dict[str, Any]) -> None:
    """Convert values, and look for what is required; files need not be there."""
    for parameter in command.params:
        if values.get(parameter.name) is None or not parameter.type_descriptor.is_path:
            parameter.process_value(context, values.get(parameter.name))
