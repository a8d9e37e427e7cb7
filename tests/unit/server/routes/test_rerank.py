from __future__ import annotations

import httpx
import pytest

from rerankd.server.app import create_app
from rerankd.server.routes.rerank import SCORING_PATHS, rerank_router
from rerankd.server.service import open_service
from rerankd.settings import load_settings


def test_the_list_of_scoring_paths_is_the_list_of_routes() -> None:
    routes = rerank_router(open_service(load_settings())).routes
    assert sorted(getattr(route, "path", "") for route in routes) == sorted(SCORING_PATHS)


@pytest.mark.parametrize("path", SCORING_PATHS)
async def test_a_service_that_is_starting_refuses_at_once_so_that_another_is_asked(path: str) -> None:
    app = create_app(open_service(load_settings()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        response = await http.post(path, json={"query": "q", "documents": ["d"]})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["detail"] == "The service is starting. Send the request again."
