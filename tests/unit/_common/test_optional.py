from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rerankd._common import optional
from rerankd._common.optional import install_command, installed, require
from rerankd.errors import MissingDependencyError


def test_require() -> None:
    assert require("json", "none", "Reading").dumps({}) == "{}"
    assert installed("json")
    assert not installed("no_such_package")
    sentence = f"Flying needs the package 'no_such_package', which is not installed. Run: {install_command('wings')}"
    with pytest.raises(MissingDependencyError, match=re.escape(sentence)):
        require("no_such_package.part", "wings", "Flying")


class Installed:
    """A distribution with this content of `direct_url.json`."""

    def __init__(self, direct_url: str | None) -> None:
        self._direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._direct_url


def test_a_clone_installs_extras_from_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = tmp_path / "my clone"
    clone.mkdir()
    (clone / "constraints.txt").touch()
    origin = {"url": clone.as_uri(), "dir_info": {"editable": True}}
    monkeypatch.setattr(optional, "distribution", lambda name: Installed(json.dumps(origin)))
    assert install_command("rag") == f"cd '{clone}' && pip install -c constraints.txt -e \".[rag]\""


@pytest.mark.parametrize(
    "direct_url",
    [
        None,
        '{"url": "file:///no/such/clone", "dir_info": {}}',
        '{"url": "file:///tmp/rerankd-1.0.0-py3-none-any.whl", "archive_info": {}}',
        "damaged",
    ],
    ids=["from an index", "a clone that is gone", "a wheel", "damaged"],
)
def test_other_installations_name_the_package(direct_url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "distribution", lambda name: Installed(direct_url))
    assert install_command("rag") == 'pip install "rerankd[rag]"'


def test_a_wheel_installs_extras_from_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "rerankd-1.0.0-py3-none-any.whl"
    wheel.touch()
    origin = {"url": wheel.as_uri(), "archive_info": {}}
    monkeypatch.setattr(optional, "distribution", lambda name: Installed(json.dumps(origin)))
    assert install_command("rag") == f"pip install 'rerankd[rag] @ {wheel.as_uri()}'"
