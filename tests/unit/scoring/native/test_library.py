from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rerankd._common.processor import cpu_flags
from rerankd.scoring.native import library


def test_reasons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(library.SWITCH)
    monkeypatch.setattr(library, "cpu_flags", lambda: library.FLAGS - {"amx_int8"})
    assert library.unavailable() == "This CPU has no AMX instructions for bf16 and int8."
    monkeypatch.setattr(library, "cpu_flags", lambda: library.FLAGS | {"sse"})
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "libencoder.so")
    assert library.unavailable() == "rerankd was installed without its native kernels, since no C compiler was found."
    library.LIBRARY.write_bytes(b"not a library")
    library._loaded.cache_clear()
    assert str(library.unavailable()).startswith("The native kernels cannot be loaded (")
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        library.library()
    library._loaded.cache_clear()


@pytest.mark.skipif(shutil.which("cc") is None, reason="this machine has no C compiler")
def test_an_installed_package_has_the_kernels() -> None:
    assert library.LIBRARY.is_file() or not cpu_flags() >= library.FLAGS


@pytest.mark.usefixtures("native")
def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "INTERFACE", library.INTERFACE + 1)
    library._loaded.cache_clear()
    assert "built for another version" in str(library.unavailable())
    library._loaded.cache_clear()
