from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rerankd.cli.deploy import service_limits
from rerankd.cli.main import app
from rerankd.errors import InvalidRequestError
from rerankd.server.nginx.config import render
from rerankd.server.nginx.options import NginxOptions, Rate
from rerankd.server.routes.embeddings import EMBEDDING_PATHS
from rerankd.server.routes.rerank import SCORING_PATHS
from rerankd.settings import load_settings
from tests.program import rerankd

EXAMPLE = Path(__file__).parents[4] / "deploy" / "nginx" / "nginx.conf"
TWO = ("10.0.0.1:8000", "10.0.0.2:8000")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("RERANKD_"):
            monkeypatch.delenv(name)


def generated(*arguments: str) -> str:
    completed = rerankd("deploy", "nginx", *arguments)
    assert completed.returncode == 0
    return completed.stdout


def test_the_example_in_the_repository_is_what_is_generated() -> None:
    command = next(line for line in EXAMPLE.read_text().splitlines() if line.startswith("#   rerankd "))
    assert generated(*command.split()[4:]) == EXAMPLE.read_text()


def test_only_scoring_is_sent_twice_once_it_was_sent() -> None:
    text = generated("--instances", ",".join(TWO))
    line, again = [line for line in text.splitlines() if "non_idempotent" in line]
    (location,) = [line for line in text[: text.index(line)].splitlines() if "location ~" in line][-1:]
    paths = location.partition("(?:")[2].partition(")$")[0].split("|")
    assert sorted(f"/{path}" for path in paths) == sorted((*SCORING_PATHS, *EMBEDDING_PATHS))
    assert "http_429" not in text
    assert "location @rerankd_again" in text[: text.rindex(again)], "only reached by requests that were not sent"


def test_limits_and_times_are_those_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKD_MAX_BODY_MB", "1.5")
    monkeypatch.setenv("RERANKD_REQUEST_TIMEOUT", "90")
    text = generated("--instances", ",".join(TWO))
    assert "client_max_body_size 1500000;" in text
    assert "larger than 1.5 MB" in text
    assert "proxy_read_timeout 95s;" in text
    assert "keepalive_timeout 20s;" in text


def test_the_read_timeout_is_an_option_and_not_shorter_than_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = service_limits(load_settings())
    text = render(NginxOptions(TWO, read_timeout=300), limits)
    assert "proxy_read_timeout 300s;" in text
    assert "proxy_next_upstream_timeout 300s;" in text
    assert "proxy_read_timeout 65s;" in render(NginxOptions(TWO, read_timeout=65), limits)
    for seconds in (1, 64):
        with pytest.raises(InvalidRequestError, match=f"--read-timeout {seconds} is shorter than the 65 seconds"):
            render(NginxOptions(TWO, read_timeout=seconds), limits)


def test_tls_listens_on_443_and_nowhere_without() -> None:
    text = generated("--instances", ",".join(TWO), "--tls-cert", "/etc/tls/a.pem", "--tls-key", "/etc/tls/a.key")
    assert [line.strip() for line in text.splitlines() if line.strip().startswith("listen")] == [
        "listen 443 ssl http2;"
    ]


def test_the_wait_after_a_refusal_is_that_of_the_rate() -> None:
    assert "add_header Retry-After 20 always;" in generated("--instances", ",".join(TWO), "--rate", "3/m")


def test_the_command_in_the_file_makes_the_file() -> None:
    options = NginxOptions(
        TWO,
        "8080",
        ("a.example.org",),
        "/a b.pem",
        "/a.key",
        Rate(9, "s"),
        None,
        4,
        7,
        "/srv/nginx",
        "/logs",
        "web",
        300,
    )
    text = render(options, service_limits(load_settings()))
    assert generated(*shlex.split(options.command)[3:]) == text


def test_a_file_that_cannot_be_written_is_a_sentence() -> None:
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        CliRunner().invoke(
            app, ["deploy", "nginx", "--instances", "a:1", "--out", "/nowhere/x"], catch_exceptions=False
        )
