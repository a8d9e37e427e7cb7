"""The MCP server itself: messages of the protocol in, calls of the service out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from rerankd._common.optional import require
from rerankd._common.version import __version__
from rerankd.errors import NotFoundError, RerankdError
from rerankd.mcp.backend import FORWARDED, Backend
from rerankd.mcp.passages import TEMPLATE, passage_id, passage_uri
from rerankd.mcp.tools import TOOLS, ToolSpec

try:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel.server import Server
    from mcp.shared.exceptions import MCPError
except ImportError:
    require("mcp.server", "mcp", "The MCP server")
    raise

INSTRUCTIONS = (
    "rerankd orders texts by relevance. Use `search` to find passages of the indexed documents, `ask` for an answer "
    "with citations, and `rerank` to order candidates of your own."
)
PAGE = 100
Context = ServerRequestContext[Any, Any]


class McpServer:
    """Handlers of the protocol's messages.

    Args:
        backend: returns the service for a call, which may depend on the HTTP request that carries it.
    """

    def __init__(self, backend: Callable[[Any], Backend]) -> None:
        self._backend = backend

    def build(self) -> Server[Any]:
        """Return the server, for any transport."""
        return Server(
            "rerankd",
            version=__version__,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(self, _: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_declaration(tool) for tool in TOOLS.values()])

    async def _call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Call a tool; an error of the service is the tool's, so that the model reads its sentence."""
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name[:100]!r}. Use {', '.join(TOOLS)}.")
        try:
            content = await self._send(context, "POST", tool.path, tool.body(params.arguments or {}))
        except RerankdError as error:
            return types.CallToolResult(content=[types.TextContent(text=str(error))], is_error=True)
        output = tool.read(content)
        return types.CallToolResult(
            content=[types.TextContent(text=output.model_dump_json())],
            structured_content=output.model_dump(mode="json"),
        )

    async def _list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """List the passages, a page at a time."""
        cursor = (params.cursor if params is not None else None) or ""
        try:
            page = await self._send(context, "GET", f"/v1/passages?limit={PAGE}&cursor={quote(cursor[:50], safe='')}")
        except RerankdError as error:
            raise _protocol_error(error) from error
        resources = [
            types.Resource(
                uri=passage_uri(row["id"]),
                name=row["id"],
                description=row["text"][:200],
                mime_type="text/plain",
                size=len(row["text"].encode()),
            )
            for row in page["data"]
        ]
        return types.ListResourcesResult(resources=resources, next_cursor=page["next_cursor"])

    async def _list_templates(
        self, _: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            name="passage",
            uri_template=TEMPLATE,
            description="A passage of the index by its id, percent-encoded.",
            mime_type="text/plain",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def _read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        try:
            passage = await self._send(context, "GET", f"/v1/passages/{quote(passage_id(uri), safe='')}")
        except RerankdError as error:
            raise _protocol_error(error) from error
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=passage["text"])
        return types.ReadResourceResult(contents=[contents])

    async def _send(
        self, context: Context, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        backend = self._backend(context.request)
        return await backend.call(method, path, body, _caller_headers(context))


def _caller_headers(context: Context) -> dict[str, str]:
    """Return the headers of a call: those of its HTTP request, and the trace context that the message carries."""
    headers = {} if context.request is None else context.request.headers
    found = {name: headers[name] for name in FORWARDED if name in headers}
    meta: Mapping[str, Any] = context.meta or {}
    traced = {name: str(meta[name]) for name in ("traceparent", "tracestate") if isinstance(meta.get(name), str)}
    return found | {name: value for name, value in traced.items() if value.isascii() and value.isprintable()}


def _declaration(tool: ToolSpec) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.arguments.model_json_schema(),
        output_schema=tool.output.model_json_schema(),
        annotations=types.ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False),
    )


def _protocol_error(error: RerankdError) -> MCPError:
    """Return an error of a resource as the protocol has it, with the sentence that the service says."""
    code = types.INVALID_PARAMS if error.status < 500 or isinstance(error, NotFoundError) else types.INTERNAL_ERROR
    return MCPError(code, str(error), {"code": error.code})
