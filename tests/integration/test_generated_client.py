"""A client that openapi-python-client generates from the OpenAPI document, with its defaults, on a real server."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from rerankd import Reranker
from tests.integration.contract import DOCUMENTS, QUERY
from tests.integration.index_program import run
from tests.integration.serving import Served, serve, until

MISSING = "openapi-python-client is not installed. Install it: make test"
NAME = "rerankd_generated"


def generator() -> Path:
    """Return the generator, or a skip that says that it is not there."""
    path = Path(sys.prefix, "openapi", "bin", "openapi-python-client")
    if path.exists():
        return path
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root: Path = tmp_path_factory.mktemp("generated")
    (root / "docs").mkdir()
    (root / "docs" / "pandas.txt").write_text("Pandas eat bamboo and live in China.")
    run("index", "docs", "--index", "index", cwd=root)
    with serve(env={"RERANKD_INDEX": str(root / "index"), "RERANKD_SEARCH_THRESHOLD": "0"}) as served:
        yield served


@pytest.fixture(scope="module")
def package(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of the generated package, importable until the module's tests end."""
    program, root = generator(), tmp_path_factory.mktemp("client")
    document, config = root / "openapi.json", root / "config.json"
    document.write_text(httpx.get(f"{served.url}/openapi.json", trust_env=False).text)
    overrides = {"application/x-ndjson": "text/plain"}
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": overrides}))
    command: list[str | Path] = [
        program,
        "generate",
        "--path",
        document,
        "--config",
        config,
        "--meta",
        "none",
        "--output-path",
    ]
    done = subprocess.run([*command, root / NAME], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout, done.stdout
    sys.path.insert(0, str(root))
    yield root / NAME
    sys.path.remove(str(root))
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def models(package: Path) -> Any:
    """Return the module of the generated models."""
    return importlib.import_module(f"{NAME}.models")


@pytest.fixture(scope="module")
def client(package: Path, served: Served) -> Iterator[Any]:
    """Return a generated client of the server, with one connection pool."""
    made = importlib.import_module(f"{NAME}.client")
    with made.Client(base_url=served.url, timeout=httpx.Timeout(60), httpx_args={"trust_env": False}) as client:
        yield client


def call(tag: str, name: str, client: Any, *arguments: Any, **named: Any) -> Any:
    """Call an operation as a program does that imports it."""
    operation: ModuleType = importlib.import_module(f"{NAME}.api.{tag}.{name}")
    return operation.sync(*arguments, client=client, **named)


def test_it_ranks(client: Any, models: Any, mini: Reranker) -> None:
    body = models.RerankRequestBody(query=QUERY, documents=list(DOCUMENTS), return_documents=True)
    answer = call("rerank", "rerank", client, body=body)
    assert type(answer) is models.RerankResponse
    own = mini.rank(QUERY, DOCUMENTS)
    assert [one.index for one in answer.results] == [one.index for one in own]
    assert [one.relevance_score for one in answer.results] == pytest.approx([one.relevance_score for one in own])
    assert [one.document.text for one in answer.results] == [one.document.text for one in own]
    assert answer.usage.total_tokens == answer.meta.tokens.input_tokens > 0
    plain = call("rerank", "rerank", client, body=models.RerankRequestBody(query=QUERY, documents=list(DOCUMENTS)))
    assert not any(one.document for one in plain.results)


def test_it_ranks_in_the_other_dialects(client: Any, models: Any) -> None:
    texts = models.TeiRequestBody(query=QUERY, texts=list(DOCUMENTS), return_text=True)
    documents = models.RerankRequestBody(query=QUERY, documents=list(DOCUMENTS), return_documents=True)
    tei = call("rerank", "rerank_tei", client, body=texts)
    assert [type(one) for one in tei] == [models.TeiRankedText] * len(DOCUMENTS)
    infinity = call("rerank", "infinity_rerank", client, body=documents)
    voyage = call("rerank", "voyage_rerank_v1", client, body=documents)
    assert type(infinity) is models.InfinityRerankResponse
    assert type(voyage) is models.VoyageRerankResponse
    orders = (
        [one.text for one in tei],
        [one.document for one in infinity.results],
        [one.document for one in voyage.data],
    )
    assert orders[0] == orders[1] == orders[2]


def test_it_scores(client: Any, models: Any, scores: list[float]) -> None:
    body = models.ScoreRequestBody(text_1=QUERY, text_2=list(DOCUMENTS))
    answer = call("rerank", "score", client, body=body)
    assert type(answer) is models.ScoreResponse
    assert [one.score for one in answer.data] == pytest.approx(scores)
    pairs = models.PredictRequestBody(inputs=[[QUERY, text] for text in DOCUMENTS])
    predicted = call("rerank", "predict", client, body=pairs)
    assert [rows[0].score for rows in predicted] == pytest.approx(scores)


def test_it_searches_and_asks(client: Any, models: Any) -> None:
    found = call("search", "search", client, body=models.SearchRequestBody(query="what do pandas eat?"))
    assert type(found) is models.SearchResponse
    assert "bamboo" in found.passages[0].text
    assert found.passages[0].number == 1
    asked = call("search", "ask", client, body=models.AskRequestBody(query="what do pandas eat?"))
    assert type(asked) is models.AskResponse
    assert asked.answer is None


def test_it_sends_feedback_and_handles_cases(client: Any, models: Any) -> None:
    body = models.RerankRequestBody(query=QUERY, documents=list(DOCUMENTS))
    ranking = call("rerank", "rerank", client, body=body)
    item = models.FeedbackItem(request_id=ranking.id, kind=models.FeedbackItemKind.CLICK, index=1)
    receipt = call("feedback", "send_feedback", client, body=item)
    assert type(receipt) is models.FeedbackResponse
    assert receipt.accepted == 1

    def flagged() -> bool:
        flag = call("cases", "flag_ranking", client, body=models.FlagRequestBody(request_id=ranking.id, note="wrong"))
        return type(flag) is models.FlagResponse  # the trace is written in the background

    until(flagged, "flagged")
    listed = call("cases", "list_cases", client)
    assert [type(one) for one in listed.data] == [models.CaseSummary]
    label = models.CaseRequestBody(labels=[models.LabelItem(index=1, grade=3)])
    case = call("cases", "change_case", client, listed.data[0].id, body=label)
    assert type(case) is models.CaseResponse
    assert case.state == models.CaseResponseState.LABELLED
    activity = call("cases", "get_activity", client)
    assert activity.data[0].requests >= 1


def test_it_submits_a_job(client: Any, models: Any) -> None:
    one = models.RerankRequestBody(query=QUERY, documents=list(DOCUMENTS))
    empty = models.RerankRequestBody(query=QUERY, documents=list(DOCUMENTS[:1]), model="mini")
    job = call("jobs", "submit_job", client, body=models.JobRequestBody(requests=[one, empty]))
    assert type(job) is models.JobResponse
    until(lambda: call("jobs", "get_job", client, job.id).state == models.JobWithResultsState.SUCCEEDED, "succeeded")
    done = call("jobs", "get_job", client, job.id)
    assert [type(row) for row in done.results] == [models.JobRanking] * 2
    assert len(done.results[0].results) == len(DOCUMENTS)
    lines = call("jobs", "get_job_results", client, job.id)
    assert [json.loads(line)["index"] for line in lines.splitlines()] == [0, 1]
    assert job.id in [each.id for each in call("jobs", "list_jobs", client, limit=5).data]


def test_it_reads_models(client: Any, models: Any) -> None:
    listed = call("models", "list_models", client)
    assert [(card.id, type(card)) for card in listed.data] == [("mini", models.ModelCard)]
    card = call("models", "get_model", client, "mini")
    assert card.loaded
    assert card.max_length > 0
    assert call("models", "get_info", client).served_model_name == "mini"
    assert call("models", "get_cluster_auth", client).auth is False
    assert call("health", "readyz", client).status == models.ReadinessResponseStatus.READY


def test_its_errors_have_types(client: Any, models: Any) -> None:
    empty = call("rerank", "rerank", client, body=models.RerankRequestBody(query=QUERY, documents=[]))
    assert type(empty) is models.ErrorResponse
    assert empty.error.code == "invalid_request"
    texts = call("rerank", "rerank", client, body=models.TeiRequestBody(query=QUERY, texts=[]))
    assert type(texts) is models.TeiErrorResponse
    assert texts.error_type == models.TeiErrorResponseErrorType.EMPTY
    voyage = call("rerank", "voyage_rerank", client, body=models.RerankRequestBody(query=QUERY, documents=[]))
    assert type(voyage) is models.VoyageErrorResponse
    missing = call("jobs", "get_job", client, "nothing")
    assert type(missing) is models.ErrorResponse


def test_its_answers_are_typed(package: Path, models: Any) -> None:
    """No field of an answer is `Any`; whatever a client sent is, such as metadata, is in objects of their own."""
    checked = 0
    for name in models.__all__:
        fields = getattr(models, name).__annotations__
        if not name.endswith("Body"):
            named = {field: kind for field, kind in fields.items() if field != "additional_properties"}
            assert not [field for field, kind in named.items() if "Any" in str(kind)], name
            checked += len(named)
    assert checked > 250
    operations = [path for path in package.glob("api/*/*.py") if path.name != "__init__.py"]
    for path in operations:
        operation = importlib.import_module(f"{NAME}.api.{path.parent.name}.{path.stem}")
        assert "Any" not in str(typing.get_type_hints(operation.sync).get("return")), path
    assert len(operations) > 40
