"""Build hook: compiles the native kernels into the package where the platform has a C compiler for them.

Without one, the package is built without the kernels, and works without them. `CC` names another compiler, such as
`CC="python -m ziglang cc"`, which is on PyPI.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/rerankd/scoring/native")
SOURCE = FOLDER / "encoder.c"
OPTIONS = ("-std=c11", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")
BASE = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "fma")
FEATURES = {  # of each library, by the names of `rerankd.scoring.native.library.INSTRUCTIONS`
    "amx": (*BASE, "avx512bf16", "amx-tile", "amx-int8", "amx-bf16"),
    "avx512": (*BASE, "avx512bf16", "avx512vnni"),
    "vnni": (*BASE, "avx512vnni"),
}


class KernelsHook(BuildHookInterface[Any]):
    """Compiles the kernels before a wheel is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the libraries to the wheel, which is then for this platform only."""
        made = compile_kernels(Path(self.root))
        if not made:
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        build_data["artifacts"] += [f"/{library_path(name).as_posix()}" for name in made]


def library_path(name: str) -> Path:
    """Return the path of a library in the source tree."""
    return FOLDER / f"libencoder-{name}.so.1"


def compile_kernels(root: Path) -> list[str]:
    """Compile the kernels; return the names of the libraries, none on another platform and without a compiler.

    Args:
        root: root of the source tree.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return []
    compiler = compiler_command()
    if not compiler:
        _warn("no C compiler was found, so the native kernels are left out")
        return []
    return [name for name in FEATURES if _compiled(compiler, root, name)]


def compiler_command() -> list[str]:
    """Return the command of the C compiler: that of `CC`, or one that is installed; empty if there is none."""
    return shlex.split(os.environ.get("CC", "")) or next(
        ([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), []
    )


def command(compiler: Sequence[str], root: Path, name: str, target: Path, *options: str) -> list[str]:
    """Return the command that compiles a library.

    Args:
        compiler: the compiler's own command.
        root: root of the source tree.
        name: one of `FEATURES`.
        target: file to write.
        options: more options of the compiler.
    """
    features = [f"-m{feature}" for feature in FEATURES[name]]
    return [*compiler, *OPTIONS, *features, *options, "-o", str(target), str(root / SOURCE), "-lm"]


def _compiled(compiler: list[str], root: Path, name: str) -> bool:
    target = root / library_path(name)
    working = target.with_suffix(f".{os.getpid()}")
    try:
        subprocess.run(command(compiler, root, name, working), check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        _warn(f"the native kernels for {name} are left out, since {compiler[0]} failed: {reason[-1:]}")
        working.unlink(missing_ok=True)
        return False
    working.replace(target)
    return True


def _warn(text: str) -> None:
    print(f"rerankd: {text}", file=sys.stderr)  # noqa: T201


def _platform() -> str:
    return f"linux_{platform.machine()}"
