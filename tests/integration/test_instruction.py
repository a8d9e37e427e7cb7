"""The client packages that have a field for an instruction, against a server whose model reads one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from rerankd import Client
from rerankd.integrations.haystack import RerankdRanker
from rerankd.integrations.langchain import RerankdCompressor
from rerankd.integrations.llamaindex import RerankdPostprocessor
from rerankd.server.app import create_app
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from tests.instructions import ASKED, read_instructions
from tests.integration.third_party_clients import Call, LiteLLM, package

TEXTS = ["A car.", "A panda eats bamboo."]
SECONDS = 60


@pytest.fixture(scope="module")
def encoder() -> Iterator[list[str | None]]:
    with pytest.MonkeyPatch.context() as patch:
        yield read_instructions(patch)


@pytest.fixture(scope="module")
def url(encoder: list[str | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("service")
    settings = load_settings(threads=1, cache=False, traces=False, jobs_path=str(folder / "jobs.sqlite"))
    service = open_service(settings)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with Client(address := f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            pause = threading.Event()
            while not client.ready():
                assert thread.is_alive()
                pause.wait(0.05)
        yield address
        server.should_exit = True
        thread.join(SECONDS)


@pytest.fixture
def seen(encoder: list[str | None], url: str) -> list[str | None]:
    encoder.clear()
    return encoder


def litellm(url: str) -> None:
    LiteLLM("hosted_vllm", options={"instruction": ASKED})(Call(url, "q", TEXTS))


def cohere(url: str) -> None:
    options = {"additional_body_parameters": {"instruction": ASKED}}
    with package("cohere").ClientV2("key", base_url=url) as client:
        client.rerank(model="mini", query="q", documents=TEXTS, request_options=options)


def haystack_vllm(url: str) -> None:
    ranker = package("haystack_integrations.components.rankers.vllm").VLLMRanker(
        model="mini", api_key=None, api_base_url=f"{url}/v1", extra_parameters={"instruction": ASKED}
    )
    try:
        ranker.run("q", [package("haystack").Document(content=text) for text in TEXTS])
    finally:
        ranker.close()


def our_client(url: str) -> None:
    with Client(url) as client:
        client.rank("q", TEXTS, instruction=ASKED)


def our_haystack(url: str) -> None:
    document = package("haystack").Document
    ranker = RerankdRanker(url=url, instruction=ASKED)
    assert ranker.to_dict()["init_parameters"]["instruction"] == ASKED
    ranker.run("q", [document(content=text) for text in TEXTS])
    ranker.run("q", [document(content=text) for text in TEXTS], instruction=ASKED)
    ranker.close()


def our_langchain(url: str) -> None:
    document = package("langchain_core.documents").Document
    with Client(url) as client:
        compressor = RerankdCompressor(reranker=client, instruction=ASKED)
        compressor.compress_documents([document(page_content=text) for text in TEXTS], "q")


def our_llama_index(url: str) -> None:
    schema = package("llama_index.core.schema")
    with Client(url) as client:
        nodes = [schema.NodeWithScore(node=schema.TextNode(text=text)) for text in TEXTS]
        RerankdPostprocessor(reranker=client, instruction=ASKED).postprocess_nodes(nodes, query_str="q")


CLIENTS: list[Callable[[str], Any]] = [
    *(litellm, cohere, haystack_vllm, our_client, our_haystack, our_langchain, our_llama_index),
]


@pytest.mark.parametrize("call", CLIENTS, ids=lambda call: call.__name__)
def test_the_instruction_of_a_client_reaches_the_encoder(
    call: Callable[[str], Any], url: str, seen: list[str | None]
) -> None:
    call(url)
    assert set(seen) == {ASKED}
