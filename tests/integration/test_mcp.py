"""The MCP server with the official client: at `/mcp` of a real server, in front of one, and on standard streams."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent, TextResourceContents

from rerankd.mcp.backend import Backend
from rerankd.mcp.front import front_app
from rerankd.mcp.server import McpServer
from rerankd.reranker import Reranker
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.traces.store import TraceStore
from tests.integration.contract import DOCUMENTS, QUERY
from tests.integration.index_program import run
from tests.integration.serving import Served, serve, until
from tests.processes import without_settings

LLM = (str(Path(__file__).with_name("chat_server.py")),)
RULES = """
rules:
  - name: private
    when: {tenant: TENANT}
    documents: {source: "*secret*"}
    filter: true
"""
SECRET = "The secret launch of the panda robot is in May."


@dataclass(frozen=True)
class Guarded:
    """A server with keys.

    Attributes:
        served: the server.
        keys: clear keys by name: `first`, `second`, from whom a file is hidden, and `tight`, with two requests a day.
        tenants: tenants by the name of their key.
        traces_url: database of its traces.
    """

    served: Served
    keys: Mapping[str, str]
    tenants: Mapping[str, str]
    traces_url: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("mcp")
    docs = root / "docs"
    docs.mkdir()
    (docs / "pandas.txt").write_text("Pandas eat bamboo and live in China.")
    (docs / "secret.txt").write_text(SECRET)
    for number in range(103):
        (docs / f"note-{number:03}.txt").write_text(f"Note {number} is about the weather.")
    run("index", "docs", "--index", "index", cwd=root)
    return root


@pytest.fixture(scope="module")
def llm() -> Iterator[Served]:
    with serve(program=LLM) as served:
        yield served


@pytest.fixture(scope="module")
def guarded(folder: Path, llm: Served) -> Iterator[Guarded]:
    made = {name: new_key(name) for name in ("first", "second")}
    made["tight"] = new_key("tight", requests_per_day=2)
    write_keys(folder / "keys.json", [key for _, key in made.values()])
    tenants = {name: key.tenant_id for name, (_, key) in made.items()}
    (folder / "rules.yaml").write_text(RULES.replace("TENANT", tenants["second"]))
    traces_url = f"sqlite:///{folder}/traces.sqlite"
    env = {
        "RERANKD_MCP": "true",
        "RERANKD_TRACES_URL": traces_url,
        "RERANKD_TRACES_SECONDS": "0.1",
        "RERANKD_INDEX": str(folder / "index"),
        "RERANKD_API_KEYS_FILE": str(folder / "keys.json"),
        "RERANKD_RULES": str(folder / "rules.yaml"),
        "RERANKD_LLM_URL": f"{llm.url}/v1",
        "RERANKD_LLM_MODEL": "good",
        "RERANKD_SEARCH_THRESHOLD": "0.01",
    }
    with serve(env=env) as served:
        yield Guarded(served, {name: clear for name, (clear, _) in made.items()}, tenants, traces_url)


@asynccontextmanager
async def connected(url: str, key: str = "", mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    """Connect the official client; `legacy` begins with the handshake that most hosts still use."""
    sent = {"authorization": f"Bearer {key}", **headers} if key else headers
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=sent, timeout=60, trust_env=False))
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        yield await stack.enter_async_context(Client(transport, mode=mode))


def text_of(content: Any) -> str:
    [block] = content
    assert isinstance(block, TextContent | TextResourceContents)
    return block.text


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that succeeds."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, text_of(result.content)
    structured: dict[str, Any] = result.structured_content
    assert json.loads(text_of(result.content)) == structured
    return structured


async def failure(client: Client, name: str, **arguments: Any) -> str:
    """Call a tool that fails; return its sentence."""
    result = await client.call_tool(name, arguments)
    assert result.is_error
    return text_of(result.content)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_tools_say_what_they_take_and_give(guarded: Guarded, mode: str) -> None:
    async with connected(guarded.served.url, guarded.keys["first"], mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        templates = (await client.list_resource_templates()).resource_templates
    assert set(tools) == {"rerank", "search", "ask"}
    assert tools["rerank"].input_schema["required"] == ["query", "documents"]
    assert {"query", "top_n", "model", "instruction"} <= tools["search"].input_schema["properties"].keys()
    assert tools["ask"].output_schema is not None
    assert "citations" in tools["ask"].output_schema["properties"]
    assert [template.uri_template for template in templates] == ["rerankd://passage/{id}"]


async def test_rerank_gives_the_librarys_scores(guarded: Guarded, mini: Reranker) -> None:
    async with connected(guarded.served.url, guarded.keys["first"]) as client:
        ranking = await call(client, "rerank", query=QUERY, documents=DOCUMENTS, top_n=2)
    expected = mini.rank(QUERY, DOCUMENTS, top_n=2)
    assert [row["index"] for row in ranking["results"]] == [one.index for one in expected]
    assert [row["text"] for row in ranking["results"]] == [DOCUMENTS[one.index] for one in expected]
    assert [row["relevance_score"] for row in ranking["results"]] == pytest.approx(
        [one.relevance_score for one in expected], abs=1e-6
    )


async def test_search_and_ask_lead_to_passages_that_can_be_read(guarded: Guarded) -> None:
    async with connected(guarded.served.url, guarded.keys["first"], "legacy") as client:
        found = await call(client, "search", query="what do pandas eat?", top_n=1)
        [passage] = found["passages"]
        answer = await call(client, "ask", query="what do pandas eat?", top_n=1)
        contents = (await client.read_resource(passage["uri"])).contents
    assert passage["text"] == text_of(contents) == "Pandas eat bamboo and live in China."
    assert passage["id"] == "docs/pandas.txt#0"
    assert answer["answer"] == "一年，即十二个月 [1]。"
    assert answer["citations"] == [1]


async def test_passages_are_listed_a_page_at_a_time(guarded: Guarded) -> None:
    async with connected(guarded.served.url, guarded.keys["first"]) as client:
        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)
        with pytest.raises(MCPError, match="cursor: not the next_cursor of a page"):
            await client.list_resources(cursor="everything")
        with pytest.raises(MCPError, match="There is no passage 'docs/none.txt#0'"):
            await client.read_resource("rerankd://passage/docs%2Fnone.txt%230")
        with pytest.raises(MCPError, match="There is no resource 'file:///etc/passwd'"):
            await client.read_resource("file:///etc/passwd")
    assert (len(first.resources), len(second.resources), second.next_cursor) == (100, 5, None)
    assert len({resource.uri for resource in (*first.resources, *second.resources)}) == 105


async def test_a_tenant_reads_and_finds_nothing_that_is_hidden_from_it(guarded: Guarded) -> None:
    url, uri = guarded.served.url, "rerankd://passage/docs%2Fsecret.txt%230"
    async with connected(url, guarded.keys["first"]) as client:
        assert text_of((await client.read_resource(uri)).contents) == SECRET
        found = await call(client, "search", query="when is the secret launch?", top_n=1)
        assert found["passages"][0]["text"] == SECRET
    async with connected(url, guarded.keys["second"]) as client:
        with pytest.raises(MCPError, match=r"There is no passage 'docs/secret.txt#0'"):
            await client.read_resource(uri)
        hidden = await call(client, "search", query="when is the secret launch?")
        pages = [await client.list_resources()]
        pages.append(await client.list_resources(cursor=pages[0].next_cursor))
    assert SECRET not in [passage["text"] for passage in hidden["passages"]]
    assert uri not in [resource.uri for page in pages for resource in page.resources]


async def test_a_call_is_traced_and_metered_for_the_key_that_made_it(guarded: Guarded) -> None:
    url, identity = guarded.served.url, "mcp-caller-1"
    async with connected(url, guarded.keys["first"], **{"x-request-id": identity}) as client:
        ranking = await call(client, "rerank", query=QUERY, documents=DOCUMENTS)
    assert ranking["request_id"] == identity

    store = TraceStore(guarded.traces_url)
    until(lambda: any(trace.request_id == identity for trace in store.list_traces(limit=1000)), "traced", 20)
    [tenant] = [trace.tenant for trace in store.list_traces(limit=1000) if trace.request_id == identity]
    store.close()
    assert tenant == guarded.tenants["first"]


async def test_a_used_up_quota_is_an_error_of_the_tool(guarded: Guarded) -> None:
    async with connected(guarded.served.url, guarded.keys["tight"]) as client:
        await client.list_tools()  # messages of the protocol are not counted
        for _ in range(2):
            await call(client, "rerank", query=QUERY, documents=DOCUMENTS)
        sentence = await failure(client, "rerank", query=QUERY, documents=DOCUMENTS)
    response = httpx.post(
        f"{guarded.served.url}/v1/rerank",
        json={"query": QUERY, "documents": DOCUMENTS},
        headers={"authorization": f"Bearer {guarded.keys['tight']}"},
        trust_env=False,
    )
    assert response.status_code == 429
    assert sentence.split(";")[0].rstrip("0123456789. s")[:40] == response.json()["error"]["message"][:40]


async def test_bad_arguments_are_an_error_of_the_tool_that_names_them(guarded: Guarded) -> None:
    async with connected(guarded.served.url, guarded.keys["first"]) as client:
        assert "documents: Field required" in await failure(client, "rerank", query=QUERY)
        assert "query: String should have at least 1 character" in await failure(client, "search", query="")
        assert "documents.1: Input should be a valid string" in await failure(
            client, "rerank", query=QUERY, documents=["a", 7]
        )
        assert "topn: Extra inputs are not permitted" in await failure(client, "search", query="q", topn=3)
        assert "at most 1000 items" in await failure(client, "rerank", query="q", documents=["a"] * 1001)
        assert "query is empty" in await failure(client, "rerank", query="  ", documents=["a"])
        with pytest.raises(MCPError, match="There is no tool 'drop_tables'"):
            await client.call_tool("drop_tables", {})


@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_wrong_key_gets_the_same_refusal_as_over_http(guarded: Guarded, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    url = guarded.served.url
    refusals = [httpx.post(f"{url}{path}", json=message, headers=headers) for path in ("/mcp", "/v1/rerank")]
    assert [refusal.status_code for refusal in refusals] == [401, 401]
    assert refusals[0].json()["error"]["message"] == refusals[1].json()["error"]["message"]


def test_pages_of_other_hosts_and_origins_cannot_reach_it(folder: Path) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"accept": "application/json, text/event-stream"}
    with serve(env={"RERANKD_MCP": "true", "RERANKD_INDEX": str(folder / "index")}) as served:
        post = f"{served.url}/mcp"
        assert httpx.post(post, json=message, headers=accept).status_code == 200
        assert httpx.post(post, json=message, headers={**accept, "host": "evil.example"}).status_code == 403
        assert httpx.post(post, json=message, headers={**accept, "origin": "http://evil.example"}).status_code == 403
        refused = httpx.get(post)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_it_is_off_by_default(server_url: str) -> None:
    assert httpx.post(f"{server_url}/mcp", json={}).status_code == 404


@asynccontextmanager
async def program(*arguments: str, folder: Path, errors: Path, **env: str) -> AsyncIterator[Client]:
    """Connect to `rerankd mcp` on standard streams."""
    variables = {**without_settings(), "PYTHONPATH": os.pathsep.join(sys.path), **env}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "rerankd", "mcp", *arguments], env=variables, cwd=folder
    )
    with errors.open("w") as sink:
        async with Client(stdio_client(server, errlog=sink)) as client:
            yield client


async def test_alone_on_standard_streams(folder: Path, tmp_path: Path, mini: Reranker) -> None:
    errors = tmp_path / "stderr"
    flags = ("--index", "index", "--search-threshold", "0.01")
    async with program(*flags, folder=folder, errors=errors, RERANKD_API_KEYS='["unused"]') as client:
        ranking = await call(client, "rerank", query=QUERY, documents=DOCUMENTS, top_n=1)
        found = await call(client, "search", query="what do pandas eat?", top_n=1)
        contents = (await client.read_resource(found["passages"][0]["uri"])).contents
        sentence = await failure(client, "rerank", query=QUERY, documents=[])
    [best] = mini.rank(QUERY, DOCUMENTS, top_n=1)
    assert ranking["results"][0]["relevance_score"] == pytest.approx(best.relevance_score, abs=1e-6)
    assert text_of(contents) == "Pandas eat bamboo and live in China."
    assert "at least 1 item" in sentence
    assert "request_id=" in errors.read_text()  # the log is there, and the client has read protocol alone


async def test_in_front_of_a_service(guarded: Guarded, tmp_path: Path) -> None:
    url, errors = guarded.served.url, tmp_path / "stderr"
    async with program("--url", url, folder=tmp_path, errors=errors, RERANKD_API_KEY=guarded.keys["second"]) as client:
        found = await call(client, "search", query="what do pandas eat?", top_n=1)
        with pytest.raises(MCPError, match="There is no passage"):
            await client.read_resource("rerankd://passage/docs%2Fsecret.txt%230")
    assert found["passages"][0]["id"] == "docs/pandas.txt#0"


async def test_the_key_of_a_front_is_checked_at_each_call(guarded: Guarded) -> None:
    backend = Backend(guarded.served.url, "wrong")
    async with Client(McpServer(lambda _: backend).build()) as client:
        sentence = await failure(client, "search", query="q")
    await backend.close()
    assert sentence == "The API key is unknown. Create one with: rerankd keys add NAME."


async def test_a_front_serves_over_http_for_this_machine_alone(guarded: Guarded) -> None:
    app = front_app(Backend(guarded.served.url), "/mcp", (), ())
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    call = {
        **message,
        "method": "tools/call",
        "params": {"name": "search", "arguments": {"query": "what do pandas eat?"}},
    }
    headers = {"accept": "application/json, text/event-stream"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:9000", headers=headers
        ) as http,
    ):
        listed = await http.post("/mcp", json=message)
        unknown = await http.post("/mcp", json=call)
        found = await http.post("/mcp", json=call, headers={"x-api-key": guarded.keys["first"]})
        rebound = await http.post("/mcp", json=message, headers={"host": "evil.example"})
        foreign = await http.post("/mcp", json=message, headers={"origin": "http://evil.example"})
    assert len(listed.json()["result"]["tools"]) == 3
    assert unknown.json()["result"]["isError"]
    assert found.json()["result"]["structuredContent"]["passages"][0]["id"] == "docs/pandas.txt#0"
    assert (rebound.status_code, foreign.status_code) == (421, 403)
