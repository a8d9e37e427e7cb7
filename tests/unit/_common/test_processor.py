from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rerankd._common import processor


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a machine of 64 cores without control groups, whose files are in a folder."""
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processor, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    _forget()
    yield tmp_path
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    processor.cpu_flags.cache_clear()
    processor.processor_name.cache_clear()


def written(root: Path, own: str, files: dict[str, str]) -> None:
    (root / "own").write_text(own)
    for name, content in files.items():
        (root / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cgroup" / name).write_text(content)


V1 = "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("own", "files", "quota", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None, 64),
        ("0::/kubepods/pod1/c\n", {"kubepods/pod1/cpu.max": "150000 100000", "cpu.max": "max 100000"}, 1.5, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "50000 100000"}, 0.5, 1),
        ("0::/../x\n", {"cpu.max": "300000 100000"}, 3.0, 3),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 4.0, 4),
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "25000", "cpu/docker/abc/cpu.cfs_period_us": "100000"}, 0.25, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, 64),
        ("0::/\n", {"cpu.max": "nonsense"}, None, 64),
        ("0::/\n", {"cpu.max": "12800000 100000"}, 128.0, 64),
        ("", {}, None, 64),
    ],
)
def test_a_quota_limits_the_cores(
    machine: Path, own: str, files: dict[str, str], quota: float | None, cores: int
) -> None:
    written(machine, own, files)
    assert processor.cpu_quota() == quota
    assert processor.usable_cores() == cores


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert processor.usable_cores() == 10


@pytest.mark.parametrize(
    ("text", "flags", "name"),
    [
        ("model name\t: Xeon\nflags\t\t: fpu avx2 amx_bf16\nflags\t\t: other\n", {"fpu", "avx2", "amx_bf16"}, "Xeon"),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n", {"fp", "asimd", "i8mm", "bf16"}, ""),
        ("", set(), ""),
    ],
)
def test_flags_and_name(machine: Path, text: str, flags: set[str], name: str) -> None:
    (machine / "cpuinfo").write_text(text)
    assert processor.cpu_flags() == flags
    assert processor.processor_name() == name


def test_a_system_that_tells_nothing() -> None:
    assert processor.cpu_flags() == frozenset()
    assert processor.processor_name() == ""
