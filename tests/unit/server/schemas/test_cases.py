from __future__ import annotations

import httpx
import pytest
from pydantic import ValidationError

from rerankd.server.app import create_app
from rerankd.server.schemas.cases import CaseRequestBody, FlagRequestBody
from rerankd.server.service import open_service
from rerankd.settings import load_settings


@pytest.mark.parametrize("request_id", ["a\0b", "\0", "a\n\0"])
def test_a_name_with_a_nul_character_is_refused_as_no_database_stores_it(request_id: str) -> None:
    assert FlagRequestBody(request_id="a\nb", index=None, note="").request_id == "a\nb"
    with pytest.raises(ValidationError, match="request_id"):
        FlagRequestBody(request_id=request_id, index=None, note="")


@pytest.mark.parametrize("other", [2, 0, 100])
def test_one_document_has_one_grade(other: int) -> None:
    labels = [{"index": 0, "grade": 1}, {"index": 1, "grade": 3}, {"index": 0, "grade": 1}]
    assert CaseRequestBody.model_validate({"labels": labels}).grades == {0: 1, 1: 3}
    with pytest.raises(ValidationError, match="document 0 has two grades"):
        CaseRequestBody.model_validate({"labels": [*labels, {"index": 0, "grade": other}]})


async def test_a_filter_with_a_nul_character_is_refused() -> None:
    service = open_service(load_settings(traces_url="sqlite:////nowhere/traces.sqlite"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(service)), base_url="http://test") as http:
        answer = await http.get("/v1/cases", params={"detector": "a\0b"})
    assert (answer.status_code, "detector" in answer.text) == (400, True)
    await service.close()
