from __future__ import annotations

import httpx
import pytest

from rerankd.server.app import create_app
from rerankd.server.routes.embeddings import EMBEDDING_PATHS, embedding_router
from rerankd.server.service import open_service
from rerankd.settings import load_settings


def test_the_list_of_paths_is_the_list_of_routes() -> None:
    routes = embedding_router(open_service(load_settings())).routes
    assert sorted(getattr(route, "path", "") for route in routes) == sorted(EMBEDDING_PATHS)


@pytest.mark.parametrize("path", [*EMBEDDING_PATHS, "/tokenize"])
async def test_a_service_that_is_starting_refuses_at_once(path: str) -> None:
    app = create_app(open_service(load_settings()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        response = await http.post(path, json={"input": "a", "inputs": "a"})
    assert response.status_code == 503
    assert "The service is starting" in response.text
