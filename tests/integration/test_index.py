"""Indexing by command: broken files, this project's own documents, an ingest that is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.index_program import run
from tests.integration.serving import serve


def test_without_an_index_the_path_says_how_to_make_one(server_url: str, tmp_path: Path) -> None:
    with serve(env={"RERANKD_INDEX": str(tmp_path / "none")}) as served:
        answer = httpx.post(f"{served.url}/v1/search", json={"query": "x"}, timeout=60)
    assert answer.status_code == 404
    assert "rerankd index" in answer.json()["message"]


def test_an_index_of_broken_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.pdf").write_bytes(b"%PDF broken")
    completed = run("index", "bad", "--index", "i", cwd=tmp_path, check=False)
    assert completed.returncode == 2
    assert "skipped" in completed.stderr
    (tmp_path / "empty").mkdir()
    assert "No file of a supported type" in run("index", "empty", "--index", "i", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("question", "source", "words"),
    [
        ("how do I limit requests per key?", "docs/serve.md", "requests-per-minute"),
        ("怎样限制每个密钥的请求数？", "docs/zh/guide.md", "requests-per-minute"),
        ("which encodings of files are read?", "docs/rag.md", "GB18030"),
        ("怎样用业务规则让草稿靠后？", "docs/zh/guide.md", "草稿"),
    ],
)
def test_the_projects_own_documents_answer(own_documents: Path, question: str, source: str, words: str) -> None:
    report = json.loads(run("ask", question, "--index", "index", "--json", cwd=own_documents).stdout)
    texts = {one["metadata"]["source"]: one["text"] for one in reversed(report["passages"])}
    assert source in texts
    assert any(words in one["text"] for one in report["passages"])


@pytest.fixture(scope="module")
def own_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("own")
    (root / "docs").symlink_to(Path(__file__).parents[2] / "docs")
    run("index", "docs", "--index", "index", cwd=root)
    return root


def test_an_ingest_that_was_killed_goes_on_and_ends_in_the_same_index(tmp_path: Path) -> None:
    from rerankd.retrieval.lance import LanceIndex

    (tmp_path / "rows").mkdir()
    with (tmp_path / "rows" / "many.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": str(i), "text": f"row {i} of many, 第{i}行"}) + "\n" for i in range(30_000))
    (tmp_path / "rows" / "a.txt").write_text("A text of its own.")
    run("index", "rows", "--index", "whole", cwd=tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "rerankd", "index", "rows", "--index", "killed"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    passages = tmp_path / "killed" / "passages.lance" / "data"
    deadline = time.monotonic() + 60
    while not passages.exists() or len(list(passages.glob("*.lance"))) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = len(LanceIndex(tmp_path / "killed"))
    assert 0 < before < 30_001
    run("index", "rows", "--index", "killed", cwd=tmp_path)
    undisturbed, again = LanceIndex(tmp_path / "whole"), LanceIndex(tmp_path / "killed")
    assert len(again) == 30_001
    assert again.rows() == undisturbed.rows()
    assert again.files() == undisturbed.files()
