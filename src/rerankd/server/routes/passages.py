"""Routes of the index's passages: a page of them, and one by its id."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from rerankd._common.validation import plain_metadata
from rerankd.errors import InvalidRequestError, MissingDependencyError, NotFoundError, UnavailableError
from rerankd.retrieval.retriever import PassageReader
from rerankd.server.context import current_request
from rerankd.server.responses import json_response
from rerankd.server.schemas.openapi import operation
from rerankd.server.schemas.responses.passages import IndexedPassage, PassageList
from rerankd.server.service import Service
from rerankd.types import Document

MAX_PAGE = 1000
MAX_OFFSET = 1_000_000_000
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Number of passages.")]
Cursor = Annotated[str, Query(max_length=50, description="next_cursor of the page before; empty for the first page.")]


class PassageRoutes:
    """Handlers of passages. What a rule hides from a tenant, whatever the question, is not there for it.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list_page(self, limit: Limit = 100, cursor: Cursor = "") -> Response:
        """List the passages of the index, in the order in which it holds them."""
        offset = _offset(cursor)
        reader = await self._reader()
        documents = await asyncio.to_thread(reader.page, offset, limit)
        following = str(offset + limit) if len(documents) == limit else None
        rows = [_row(document) for document in self._visible(documents)]
        return json_response({"object": "list", "data": rows, "next_cursor": following})

    async def get(self, passage: str) -> Response:
        """Return one passage."""
        reader = await self._reader()
        document = await asyncio.to_thread(reader.read, passage)
        if document is None or not self._visible([document]):
            raise NotFoundError(f"There is no passage {passage[:200]!r}.", hint="List them: GET /v1/passages.")
        return json_response(_row(document))

    async def _reader(self) -> PassageReader:
        retriever = await self._service.search_service.retriever()
        if not isinstance(retriever, PassageReader):
            raise NotFoundError(
                "The first stage is a service of your own, whose passages cannot be listed.", hint="Use /v1/search."
            )
        return retriever

    def _visible(self, documents: list[Document]) -> list[Document]:
        tenant = current_request.get().tenant
        adjustments = self._service.pipeline.rules.adjustments("", documents, tenant)
        return [document for document, each in zip(documents, adjustments, strict=True) if not each.filtered]


def _offset(cursor: str) -> int:
    if not cursor:
        return 0
    if not cursor.isdecimal() or not cursor.isascii() or int(cursor) > MAX_OFFSET:
        raise InvalidRequestError("cursor: not the next_cursor of a page.", hint="Leave it out for the first page.")
    return int(cursor)


def _row(document: Document) -> dict[str, Any]:
    metadata = plain_metadata(document.metadata)
    return {"object": "passage", "id": document.id, "text": document.text, "metadata": metadata}


def passage_router(service: Service) -> APIRouter:
    """Return the routes of passages."""
    router, routes = APIRouter(tags=["search"]), PassageRoutes(service)
    errors = (InvalidRequestError, NotFoundError, UnavailableError, MissingDependencyError)
    page = operation("list_passages", "List the passages of the index", PassageList, errors=errors)
    router.add_api_route("/v1/passages", routes.list_page, methods=["GET"], **page)
    one = operation("get_passage", "Read a passage of the index", IndexedPassage, errors=errors)
    router.add_api_route("/v1/passages/{passage:path}", routes.get, methods=["GET"], **one)
    return router
