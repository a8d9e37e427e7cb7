"""Reads a Dockerfile into stages and instructions; what hadolint checks of them is not repeated here."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction, with its lines joined.

    Attributes:
        name: in capitals, as `RUN`.
        text: everything after the name.
    """

    name: str
    text: str

    @property
    def pairs(self) -> dict[str, str]:
        """Names and values set by an ENV, ARG or LABEL."""
        return dict(word.split("=", 1) for word in shlex.split(self.text) if "=" in word)

    @property
    def words(self) -> list[str]:
        """The exec form as a list.

        Raises:
            ValueError: it is in shell form.
        """
        parsed = json.loads(self.text)
        if not isinstance(parsed, list):
            raise ValueError(f"{self.name} is not in exec form.")
        return [str(word) for word in parsed]


@dataclass
class Stage:
    """One stage.

    Attributes:
        name: after AS.
        base: an image, or the name of an earlier stage.
        instructions: without FROM.
    """

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


def read_dockerfile(path: Path) -> dict[str, Stage]:
    """Return the stages of a Dockerfile by name, in order."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        name, _, text = line.strip().partition(" ")
        if name == "FROM":
            base, _, given = text.partition(" AS ")
            current = stages[given] = Stage(given, base)
        elif name and current is not None:
            current.instructions.append(Instruction(name, text.strip()))
    return stages


def lineage(stages: dict[str, Stage], name: str) -> list[Stage]:
    """Return the stage and those it is made from, the first one first."""
    stages_used = [stages[name]]
    while stages_used[0].base in stages:
        stages_used.insert(0, stages[stages_used[0].base])
    return stages_used


def last(stages: dict[str, Stage], name: str, instruction: str) -> Instruction:
    """Return the instruction that counts in a stage, its own or inherited.

    Raises:
        LookupError: there is none.
    """
    every = [one for stage in lineage(stages, name) for one in stage.instructions if one.name == instruction]
    if not every:
        raise LookupError(f"Stage {name} has no {instruction}.")
    return every[-1]


def environment(stages: dict[str, Stage], name: str) -> dict[str, str]:
    """Variables that the image sets."""
    variables: dict[str, str] = {}
    for stage in lineage(stages, name):
        for one in stage.instructions:
            if one.name == "ENV":
                variables |= one.pairs
    return variables


def context_files(root: Path) -> list[Path]:
    """Paths, relative to the root, that .dockerignore lets into the build: its lines with `!`, less the caches."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").split("\n")
    return [Path(line[1:]) for line in lines if line.startswith("!")]
