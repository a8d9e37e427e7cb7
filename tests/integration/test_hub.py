"""The real hub client against a small hub of our own on a free port."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from rerankd import ModelNotFoundError, Reranker
from rerankd.models.files import load_model
from rerankd.models.hub import cached_models

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The calls that a snapshot makes: model information, then each file."""

    repositories: ClassVar[dict[str, Path]] = {}
    tokens: ClassVar[list[str | None]] = []
    requested: ClassVar[list[str]] = []

    def log_message(self, *args: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        Hub.tokens.append(self.headers.get("authorization"))
        Hub.requested.append(self.path)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._information("/".join(parts[2:4]), parts[-1], tree="tree" in parts)
        elif "resolve" in parts:
            self._file("/".join(parts[:2]), parts[-1], body)
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _information(self, name: str, revision: str, *, tree: bool) -> None:
        if name == "org/gated":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif name not in self.repositories:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif tree:
            paths = sorted(self.repositories[name].iterdir())
            rows = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40} for p in paths]
            self._send(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})
        else:
            files = [{"rfilename": path.name} for path in sorted(self.repositories[name].iterdir())]
            content = {"id": name, "modelId": name, "sha": COMMIT, "siblings": files, "tags": [], "private": False}
            self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, file: str, body: bool) -> None:
        content = (self.repositories[name] / file).read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Hub.repositories = {"org/reranker": bert}
    Hub.tokens.clear()
    Hub.requested.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield endpoint
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch_then_offline(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    cache = str(tmp_path / "cache")
    files = load_model("org/reranker", token="hf_secret", cache_dir=cache)
    assert files.manifest.name == "org/reranker"
    assert files.manifest.revision == COMMIT
    assert "Bearer hf_secret" in Hub.tokens
    requests = len(Hub.requested)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reranker = Reranker("org/reranker@main", device="cpu", cache_dir=cache)
    assert len(reranker.rank("q", texts)) == 5
    assert len(Hub.requested) == requests, "offline means offline"


def test_cache_answers_when_the_hub_is_gone(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = str(tmp_path / "cache")
    load_model("org/reranker", cache_dir=cache)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert load_model("org/reranker", cache_dir=cache).manifest.revision == COMMIT


def test_cached_models_are_listed(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached_models(str(tmp_path / "none")) == []
    load_model("org/reranker", cache_dir=str(tmp_path / "cache"))
    ((name, folder),) = cached_models(str(tmp_path / "cache"))
    assert name == f"org/reranker@{COMMIT[:8]}"
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("org/nothing", "There is no model 'org/nothing' on the hub, or it is private. Check the spelling"),
        ("org/gated", "org/gated is gated. Accept its terms on the hub, then set HF_TOKEN"),
        ("org/reranker@v9", "org/reranker has no revision 'v9'. Use a branch, a tag or a commit"),
    ],
)
def test_hub_says_no(hub: str, tmp_path: Path, reference: str, sentence: str) -> None:
    with pytest.raises(ModelNotFoundError, match=sentence):
        load_model(reference, cache_dir=str(tmp_path))


def test_hub_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(
        ModelNotFoundError, match=r"not in the local cache and the hub cannot be reached. .*HF_ENDPOINT"
    ):
        load_model("org/reranker", cache_dir=str(tmp_path))


def test_offline_and_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE forbids fetching it"):
        load_model("org/reranker", cache_dir=str(tmp_path))
