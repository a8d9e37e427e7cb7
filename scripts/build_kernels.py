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
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/rerankd/scoring/native")
SOURCE, LIBRARY = FOLDER / "encoder.c", FOLDER / "libencoder.so.1"
FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512bf16", "amx-tile", "amx-int8", "amx-bf16", "fma")
OPTIONS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", *(f"-m{feature}" for feature in FEATURES))


class KernelsHook(BuildHookInterface[Any]):
    """Compiles the kernels before a wheel is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the library to the wheel, which is then for this platform only."""
        root = Path(self.root)
        if not compile_kernels(root):
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")


def compile_kernels(root: Path) -> bool:
    """Compile the kernels; return False where the platform is another one or has no compiler.

    Args:
        root: root of the source tree.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    compiler = shlex.split(os.environ.get("CC", "")) or next(
        ([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), []
    )
    if not compiler:
        print("rerankd: no C compiler was found, so the native kernels are left out", file=sys.stderr)  # noqa: T201
        return False
    working = root / LIBRARY.with_suffix(f".{os.getpid()}")
    command = [*compiler, *OPTIONS, "-o", str(working), str(root / SOURCE), "-lm"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        print(f"rerankd: the native kernels are left out, since {compiler[0]} failed: {reason[-1:]}", file=sys.stderr)  # noqa: T201
        working.unlink(missing_ok=True)
        return False
    working.replace(root / LIBRARY)
    return True


def _platform() -> str:
    return f"linux_{platform.machine()}"
