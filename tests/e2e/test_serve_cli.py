from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rerankd.settings import Settings
from tests.program import rerankd


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RERANKD_")]:
        monkeypatch.delenv(name)


def test_config_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    (tmp_path / "rerankd.toml").write_text('port = 9000\napi_keys = ["hidden-secret"]\n[models]\nbig = "org/big"\n')
    settings = {"RERANKD_MAX_QUEUE_SECONDS": "7", "RERANKD_CORS_ORIGINS": "https://a,https://b"}
    completed = rerankd("config", "show", folder=tmp_path, env=settings)
    rows = {row["name"]: row for row in map(json.loads, completed.stdout.splitlines())}
    assert set(rows) == set(Settings.model_fields)
    assert (rows["port"]["value"], rows["port"]["source"]) == (9000, str(tmp_path / "rerankd.toml"))
    assert (rows["max_queue_seconds"]["value"], rows["max_queue_seconds"]["source"]) == (7, "RERANKD_MAX_QUEUE_SECONDS")
    assert rows["cors_origins"]["value"] == ["https://a", "https://b"]
    assert rows["models"]["value"] == {"big": "org/big"}
    assert rows["host"]["source"] == "default"
    assert "hidden-secret" not in completed.stdout


def test_config_show_hides_passwords_wherever_a_url_stands(tmp_path: Path) -> None:
    url = "https://user:hush-hush@host.example.org/v1?token=hush-hush"
    (tmp_path / "other.toml").write_text(f'[models]\nbig = "{url}"\n')
    names = ("LLM_URL", "EMBEDDING_URL", "MILVUS_URL", "OTEL_ENDPOINT", "REGISTRY", "CACHE_DIR")
    env = {f"RERANKD_{name}": url for name in names} | {"RERANKD_MILVUS_TOKEN": "root:hush-hush"}
    completed = rerankd("config", "show", "--config", "other.toml", folder=tmp_path, env=env)
    assert completed.returncode == 0, completed.stderr
    assert "hush-hush" not in completed.stdout
    rows = {row["name"]: row for row in map(json.loads, completed.stdout.splitlines())}
    assert rows["llm_url"]["value"] == "https://user:***@host.example.org/v1?token=***"
    assert rows["models"]["source"] == str(tmp_path / "other.toml")


def test_the_start_names_the_file_and_unknown_variables(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('model = "./nowhere"\n')
    env = {"RERANKD_TOPN": "3"}
    completed = rerankd("serve", "--port", "0", "--config", "other.toml", folder=tmp_path, env=env)
    assert f"settings {tmp_path / 'other.toml'}" in completed.stderr
    assert "RERANKD_TOPN names no setting and is ignored. Did you mean RERANKD_TOP_N?" in completed.stderr
    completed = rerankd("serve", "--port", "0", "--model", "./nowhere", folder=tmp_path)
    assert f"settings defaults; there is no {tmp_path / 'rerankd.toml'}" in completed.stderr
    assert "does not exist" in rerankd("serve", "--config", "none.toml", folder=tmp_path).stderr


def test_every_setting_is_a_flag_of_serve(tmp_path: Path) -> None:
    wide = {"COLUMNS": "300", "NO_COLOR": "1", "TERMINAL_WIDTH": "300"}
    shown = rerankd("serve", "--help", folder=tmp_path, env=wide).stdout
    for name in Settings.model_fields:
        if name != "top_n":
            assert f"--{name.replace('_', '-')}" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "many"], "Setting port"),
        (["--max-queue-seconds", "-1"], "Setting max_queue_seconds"),
        (["--models", "{"], "Setting models"),
        (["--preload", "nobody"], "preload names 'nobody'"),
        (["--model", "./nowhere"], "This folder does not exist"),
        (["--api-keys-file", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_flags_are_a_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    completed = rerankd("serve", "--port", "0", *arguments, folder=tmp_path)
    assert completed.returncode in (2, 3)
    assert sentence in completed.stderr
    assert "Traceback" not in completed.stderr
    assert "startup" not in completed.stderr


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "rerankd", "serve", "--port", str(taken.getsockname()[1])]
        completed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert completed.returncode == 2
    assert "Cannot listen on 127.0.0.1" in completed.stderr
