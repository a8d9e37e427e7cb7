from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings, describe_sources, load_settings, settings_file, unknown_variables


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def with_flag(name: str, value: object) -> Settings:
    flags: dict[str, Any] = {name: value}
    return load_settings(**flags)


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
    with pytest.raises(InvalidRequestError, match="Setting top_m does not exist. Did you mean top_n?"):
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


@pytest.mark.parametrize("name", ["redis_url", "queue_url", "traces_url", "llm_url", "embedding_url", "otel_endpoint"])
@pytest.mark.parametrize(
    "rest", ["user:se/cret@host:5432/0", "host:port/0", "host:99999/0", "[::1/0", ":se#cret@host/0"]
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(name: str, rest: str) -> None:
    scheme = {"redis_url": "redis", "queue_url": "rediss", "traces_url": "postgresql"}.get(name, "https")
    with pytest.raises(InvalidRequestError, match=rf"Setting {name}: .*%2F.*Check rerankd\.toml") as caught:
        with_flag(name, f"{scheme}://{rest}")
    assert "cret" not in str(caught.value)


def test_urls_that_are_files_or_complete_are_kept() -> None:
    for name, url in {
        "redis_url": "redis://:s%2Fecret@host:6379/0",
        "queue_url": "unix:///run/redis.sock?db=1",
        "traces_url": "sqlite:////a:b/traces.sqlite",
        "milvus_url": "./milvus.db",
        "otel_endpoint": "http://[::1]:4318/v1/traces",
    }.items():
        assert getattr(with_flag(name, url), name) == url
    with pytest.raises(InvalidRequestError, match="Setting otel_endpoint"):
        load_settings(otel_endpoint="localhost:4318")


@pytest.mark.parametrize("name", ["allowed_hosts", "webhook_hosts"])
@pytest.mark.parametrize(
    "host", ["https://a.com", "a.com:8000", "a.com/x", "a b", "", "*a.com", "a.*", "user@a.com", "[::1]:80"]
)
def test_a_host_that_would_match_nothing_is_refused(name: str, host: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"Setting {name}: .*without scheme, port and path"):
        with_flag(name, ["good.example.com", host])


def test_hosts_and_origins_are_kept_as_they_are_compared() -> None:
    assert load_settings(allowed_hosts="A.com,*.b.com,*,::1,10.0.0.7,c.com.").allowed_hosts == (
        ["a.com", "*.b.com", "*", "::1", "10.0.0.7", "c.com"]
    )
    assert load_settings(webhook_hosts="A.com,[::1]").webhook_hosts == ["a.com", "::1"]
    with pytest.raises(InvalidRequestError, match="webhook_hosts"):
        load_settings(webhook_hosts="*.a.com")
    origins = "https://A.com/,http://a.com:80,https://a.com:8443,chrome-extension://abc,null,*"
    assert load_settings(cors_origins=origins).cors_origins == (
        ["https://a.com", "http://a.com", "https://a.com:8443", "chrome-extension://abc", "null", "*"]
    )


@pytest.mark.parametrize("origin", ["a.com", "https://a.com/app", "https://user@a.com", "https://", "*.a.com"])
def test_an_origin_that_would_match_nothing_is_refused(origin: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"Setting cors_origins: .* is no origin"):
        load_settings(cors_origins=[origin])


def test_a_byte_order_mark_is_no_fault_of_a_file() -> None:
    Path("rerankd.toml").write_bytes(b"\xef\xbb\xbftop_n = 7\n")
    assert load_settings().top_n == 7
    assert {name: source for name, _, source in describe_sources()}["top_n"].endswith("rerankd.toml")


@pytest.mark.parametrize("content", [b"\xff\xfet\x00", b"a = " + b"[" * 50_000, b"a = {" * 50_000, b"\xe9 = 1"])
def test_a_file_that_is_no_toml(content: bytes) -> None:
    Path("rerankd.toml").write_bytes(content)
    with pytest.raises(InvalidRequestError, match="is not valid TOML"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[server]\nport = 1\n", r"Setting server does not exist. Settings stand in no section. Check rerankd\.toml"),
        ("prot = 1\n", r"Setting prot does not exist. Did you mean port\?"),
        ("zzz = 1\n", r"Setting zzz does not exist. Check rerankd\.toml"),
        ("api_keys = [1]\n", r"Setting api_keys\.0: .*RERANKD_API_KEYS, and the flag --api-keys\."),
        ("[models]\na = 1\n", r"Setting models\.a: .*RERANKD_MODELS, and the flag --models\."),
    ],
)
def test_what_a_file_may_not_hold_is_named_with_the_fix(content: str, message: str) -> None:
    Path("rerankd.toml").write_text(content)
    with pytest.raises(InvalidRequestError, match=message):
        load_settings()
