from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rerankd._common.processor import cpu_flags
from rerankd.scoring.native import library

AMX, AVX512, VNNI = library.INSTRUCTIONS


def test_reasons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(library.SWITCH)
    monkeypatch.setattr(library, "cpu_flags", lambda: VNNI.flags - {"avx512_vnni"})
    assert library.unavailable() == "This CPU has no AVX-512 (VNNI), which the native kernels need."
    assert not library.built_without_kernels()
    monkeypatch.setattr(library, "cpu_flags", lambda: AMX.flags | {"sse"})
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    assert str(library.unavailable()).startswith(
        "rerankd was installed without its native kernels, since no C compiler"
    )
    AMX.library.write_bytes(b"not a library")
    library._loaded.cache_clear()
    assert str(library.unavailable()).startswith("The native kernels cannot be loaded (")
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        library.library()
    library._loaded.cache_clear()


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        ("", AMX),
        ("on", AMX),
        ("1", AMX),
        ("amx", AMX),
        ("AVX512", AVX512),
        ("vnni", VNNI),
        ("off", None),
        ("sse", None),
    ],
)
def test_the_variable_chooses(
    value: str, chosen: library.Instructions | None, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv(library.SWITCH, value)
    monkeypatch.setattr(library, "cpu_flags", lambda: AMX.flags | AVX512.flags)
    assert library.instructions() == chosen
    if value == "sse":
        assert library.unavailable() == "RERANKD_NATIVE is 'sse', which is none of on, off, amx, avx512, vnni."


def test_instructions_that_the_processor_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "cpu_flags", lambda: AVX512.flags)
    monkeypatch.setenv(library.SWITCH, "amx")
    assert library.unavailable() == "This CPU has no AMX, which the native kernels need."
    monkeypatch.setenv(library.SWITCH, "on")
    assert library.instructions() == AVX512


@pytest.mark.skipif(shutil.which("cc") is None, reason="this machine has no C compiler")
def test_an_installed_package_has_the_kernels() -> None:
    assert all(each.library.is_file() for each in library.INSTRUCTIONS if cpu_flags() >= each.flags)


@pytest.mark.usefixtures("native")
def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "INTERFACE", library.INTERFACE + 1)
    library._loaded.cache_clear()
    assert "built for another version" in str(library.unavailable())
    library._loaded.cache_clear()
