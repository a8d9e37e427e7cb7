"""Real servers that integration tests share."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
import redis

from rerankd import Reranker
from tests.integration.contract import DOCUMENTS, QUERY
from tests.integration.nginx import MISSING, nginx_binary
from tests.integration.postgres import Postgres, running_postgres
from tests.integration.serving import API_KEY, Served, serve
from tests.openapi import AnswerChecker, checking_client

_names = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    """Return a server that asks for no key."""
    with serve() as served:
        yield served


@pytest.fixture(scope="session")
def server_url(server: Served) -> str:
    """Return the URL of the server without keys."""
    return server.url


@pytest.fixture(scope="session")
def guarded_url() -> Iterator[str]:
    """Return the URL of the server that requires `API_KEY`."""
    with serve(env={"RERANKD_API_KEYS": json.dumps([API_KEY])}) as served:
        yield served.url


@pytest.fixture(scope="session")
def mini() -> Reranker:
    """Return the model that the servers serve, in this process."""
    return Reranker("mini")


@pytest.fixture(scope="session")
def scores(mini: Reranker) -> list[float]:
    """Return the model's scores of the contract's documents."""
    return [float(score) for score in mini.score([(QUERY, text) for text in DOCUMENTS])]


@pytest.fixture(scope="session")
def logits(mini: Reranker) -> list[float]:
    """Return the same, without an activation."""
    return [float(score) for score in mini.score([(QUERY, text) for text in DOCUMENTS], activation="none")]


@pytest.fixture(scope="session")
def answers(server_url: str) -> AnswerChecker:
    """Return what holds answers against the OpenAPI document of the servers."""
    return AnswerChecker(httpx.get(f"{server_url}/openapi.json", trust_env=False).json())


@pytest.fixture(scope="module")
def client(server_url: str, answers: AnswerChecker) -> Iterator[httpx.Client]:
    """Bare HTTP to the open server; each answer is held against the OpenAPI document."""
    with checking_client(server_url, answers) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(guarded_url: str, answers: AnswerChecker) -> Iterator[httpx.Client]:
    """Bare HTTP, with no key, to the server that asks for one; each answer is held against the OpenAPI document."""
    with checking_client(guarded_url, answers) as client:
        yield client


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Return a PostgreSQL of our own; a module may stop and start it."""
    with tempfile.TemporaryDirectory(prefix="rerankd-postgres-") as folder, running_postgres(Path(folder)) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/traces.sqlite"
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh(f"traces{next(_names)}")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a Redis for the tests."""
    binary = shutil.which("redis-server")
    if not binary:
        sentence = "redis-server is not installed. Install it: apt-get install redis-server"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    process, port = _start_redis(binary, str(tmp_path_factory.mktemp("redis")))
    url = f"redis://127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(url) as client:
            assert client.ping()
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _start_redis(binary: str, folder: str) -> tuple[subprocess.Popen[str], int]:
    """Return a server that is ready; another program may take the free port first, so there are some attempts."""
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [binary, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        if any("Ready to accept connections" in line for line in process.stdout):
            return process, port
        process.communicate(timeout=30)
    pytest.fail("redis-server did not start")


@pytest.fixture(scope="session")
def nginx() -> str:
    """Return the program of nginx."""
    binary = nginx_binary()
    if not binary:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return binary
