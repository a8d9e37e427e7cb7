from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.settings import describe_sources, load_settings, settings_file, unknown_variables


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


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_file_that_is_named_is_read_instead(monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    Path("rerankd.toml").write_text("top_n = 7\n")
    Path("other.toml").write_text("top_n = 9\n")
    config = None if by_variable else Path("other.toml")
    if by_variable:
        monkeypatch.setenv("RERANKD_CONFIG", "other.toml")
    assert load_settings(config).top_n == 9
    assert load_settings(config, top_n=3).top_n == 3
    sources = {name: source for name, _, source in describe_sources(config)}
    assert sources["top_n"] == str(Path("other.toml").resolve())
    assert settings_file(config) == Path("other.toml")
    Path("other.toml").write_text("top_m = 9\n")
    with pytest.raises(InvalidRequestError, match=r"Setting top_m.*Check other\.toml"):
        load_settings(config)
    Path("other.toml").unlink()
    with pytest.raises(InvalidRequestError, match=r"other\.toml does not exist"):
        load_settings(config)


def test_the_named_file_is_that_of_one_call() -> None:
    Path("other.toml").write_text("top_n = 9\n")
    assert (load_settings(Path("other.toml")).top_n, load_settings().top_n) == (9, 5)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RERANKD_TOPN", "RERANKD_TOP_N"),
        ("RERANKD_QUEUEURL", "RERANKD_QUEUE_URL"),
        ("RERANKD_ZZZ", ""),
        ("rerankd_llm_uri", "RERANKD_LLM_URL"),
        ("RERANKD_TOP_N", None),
        ("rerankd_top_n", None),
        ("RERANKD_CONFIG", None),
        ("RERANKD_API_KEY", None),
        ("RERANKD_SERVICE_HOST", None),
        ("RERANKD_SERVICE_PORT_HTTP", None),
        ("RERANKD_PORT_8000_TCP_ADDR", None),
        ("OTHER_TOPN", None),
    ],
)
def test_a_variable_that_names_no_setting_is_known(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    for other in [other for other in os.environ if other.upper().startswith("RERANKD_")]:
        monkeypatch.delenv(other)
    monkeypatch.setenv(name, "1")
    assert unknown_variables() == ([] if meant is None else [(name, meant)])
