"""The processor: how many cores this process may use, and which instructions they have."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
HALF_PRECISION_FLAGS = {  # the last of each are Arm's
    "bf16": frozenset({"amx_bf16", "avx512_bf16", "bf16"}),
    "fp16": frozenset({"amx_fp16", "avx512_fp16", "asimdhp"}),
}
INT8_FLAGS = frozenset({"amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp"})


@cache
def cpu_flags() -> frozenset[str]:
    """Return the instruction-set flags of the processor, as Linux names them; empty on other systems.

    Example:
        >>> "avx2" in cpu_flags() or "asimd" in cpu_flags() or not cpu_flags()
        True
    """
    for line in _lines(CPUINFO):
        if line.lower().startswith(("flags", "features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


@cache
def processor_name() -> str:
    """Return the name of the processor; empty where the system does not tell it."""
    return next((line.partition(":")[2].strip() for line in _lines(CPUINFO) if line.startswith("model name")), "")


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    It is the number of cores that the process may be scheduled on, or the CPU quota of its container if that is less. A
    quota of a part of a core counts as a whole one: 1.5 cores are 2 threads that each run three quarters of the time.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota() -> float | None:
    """Return the CPU quota of the control groups of this process, in cores; None for no limit.

    Both versions of control groups are read, and the limits of all groups from this process's own up to the root.
    """
    quotas = [
        quota for line in _lines(OWN_GROUPS) for folder in _group_folders(line) if (quota := _quota(folder)) is not None
    ]
    return min(quotas, default=None)


def _group_folders(line: str) -> list[Path]:
    """Return the folders of one line of /proc/self/cgroup, from the process's group up to the root."""
    number, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if number == "0" and not controllers:
        root = CGROUPS
    elif "cpu" in controllers.split(","):
        root = next((CGROUPS / name for name in (controllers, "cpu") if (CGROUPS / name).is_dir()), CGROUPS / "cpu")
    else:
        return []
    own = root / path.strip().lstrip("/")
    # A container sees its own group as the root, whatever path the host gives it.
    return [folder for folder in (own, *own.parents) if folder == root or root in folder.parents]


def _quota(folder: Path) -> float | None:
    """Return the quota of one group in cores: `cpu.max` of version 2, or two files of version 1."""
    try:
        if (file := folder / "cpu.max").is_file():
            limit, period = file.read_text(encoding="ascii").split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        return None if limit == "max" or int(limit) <= 0 or int(period) <= 0 else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
