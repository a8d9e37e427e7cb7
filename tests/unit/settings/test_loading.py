from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.settings import load_settings


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().top_n == 5
    Path("rerankd.toml").write_text('top_n = 7\nmodel = "from-file"\ndevice = "cpu"\n')
    monkeypatch.setenv("RERANKD_TOP_N", "8")
    monkeypatch.setenv("RERANKD_MODEL", "from-environment")
    settings = load_settings(top_n=9, model=None)
    assert (settings.top_n, settings.model, settings.device) == (9, "from-environment", "cpu")


def test_wrong_value_names_setting_and_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKD_TOP_N", "many")
    with pytest.raises(InvalidRequestError, match=r"Setting top_n: .*Check .*\.toml.* RERANKD_TOP_N, .* --top-n"):
        load_settings()


def test_unknown_key_in_the_file() -> None:
    Path("rerankd.toml").write_text("top_m = 7\n")
    with pytest.raises(InvalidRequestError, match="Setting top_m: Extra inputs are not permitted"):
        load_settings()


def test_broken_file() -> None:
    Path("rerankd.toml").write_text("top_n = \n")
    with pytest.raises(InvalidRequestError, match=r"rerankd.toml is not valid TOML"):
        load_settings()


@pytest.mark.parametrize("value", ["proxy.local", "*", "10.0.0.1/8"])
def test_trusted_proxies_are_addresses(value: str) -> None:
    assert load_settings().trusted_proxies == ["127.0.0.1", "::1"]
    assert load_settings(trusted_proxies="10.0.0.7,10.1.0.0/16").trusted_proxies == ["10.0.0.7", "10.1.0.0/16"]
    with pytest.raises(InvalidRequestError, match=r"Setting trusted_proxies: .*10\.1\.0\.0/16"):
        load_settings(trusted_proxies=value)


def test_experiments_are_switched_off_in_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().rollout
    monkeypatch.setenv("RERANKD_ROLLOUT", "off")
    assert not load_settings().rollout
