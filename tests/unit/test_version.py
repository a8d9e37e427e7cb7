from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from typer.testing import CliRunner

import rerankd
from rerankd.cli.main import app
from rerankd.server.metrics import Metrics
from rerankd.version import UNKNOWN, __version__, read_version

SOURCES = Path(rerankd.__file__).parent


def test_it_is_the_installed_one() -> None:
    assert rerankd.__version__ == __version__ == version("rerankd")


def test_without_an_installed_package() -> None:
    assert read_version("no-such-package") == UNKNOWN


def test_the_program_shows_it() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"rerankd {__version__}\n"


def test_metrics_show_it() -> None:
    assert f'rerankd_build_info{{version="{__version__}"}} 1.0' in Metrics().text().decode()


def test_one_place_asks() -> None:
    asking = re.compile(r"""version\(["']rerankd""")
    found = [path.name for path in SOURCES.rglob("*.py") if asking.search(path.read_text(encoding="utf-8"))]
    assert found == []
