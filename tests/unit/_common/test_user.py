from __future__ import annotations

import getpass
import os

import pytest

from rerankd._common.user import current_user


def test_the_name_is_taken_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert current_user() == "ann"


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("no username"), ImportError("no pwd"), None])
def test_without_a_name_it_is_the_user_id(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        if error:
            raise error
        return ""

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr(os, "getuid", lambda: 1000, raising=False)
    assert current_user() == "uid 1000"
    monkeypatch.delattr(os, "getuid")  # as on Windows
    assert current_user() == "unknown"
