from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

import rerankd
from rerankd._common.version import UNKNOWN, __version__, read_version
from rerankd.cli.main import app
from rerankd.server.observability.metrics import Metrics

SOURCES = Path(rerankd.__file__).parent
ROOT = Path(__file__).parents[3]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SETUPTOOLS_SCM_"))}


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
    modules = [path.name for path in SOURCES.rglob("*.py") if asking.search(path.read_text(encoding="utf-8"))]
    assert modules == []


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a repository with one commit that holds what a version is made from."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def git(folder: Path, *words: str) -> None:
    me = ["-c", "user.name=Me", "-c", "user.email=me@example.com"]
    subprocess.run(["git", *me, *words], cwd=folder, env=CLEAN, check=True)


def built_version(folder: Path, **variables: str) -> str:
    """Return the version of a build in the folder."""
    command = [sys.executable, "-m", "hatchling", "version"]
    done = subprocess.run(command, cwd=folder, env={**CLEAN, **variables}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_tag_is_the_version(clone: Path) -> None:
    git(clone, "tag", "v4.5.6")
    assert built_version(clone) == "4.5.6"
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "second")
    assert re.fullmatch(r"4\.5\.7\.dev1\+g[0-9a-f]+", built_version(clone))


def test_a_clone_without_tags_has_a_version(clone: Path, tmp_path: Path) -> None:
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "second")
    git(tmp_path, "clone", "--quiet", "--depth", "1", clone.as_uri(), "shallow")
    assert re.fullmatch(r"0\.1\.0\.dev\d+\+g[0-9a-f]+", built_version(tmp_path / "shallow"))


def test_files_without_a_repository_have_a_version(clone: Path) -> None:
    shutil.rmtree(clone / ".git")
    assert built_version(clone) == "0.1.0.dev0"


def test_an_image_says_which_version_it_is(clone: Path) -> None:
    git(clone, "tag", "v4.5.6")
    assert built_version(clone, SETUPTOOLS_SCM_PRETEND_VERSION_FOR_RERANKD="7.8.9") == "7.8.9"
    assert built_version(clone, SETUPTOOLS_SCM_PRETEND_VERSION_FOR_RERANKD="") == "4.5.6"
