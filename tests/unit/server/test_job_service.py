from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.server.app import create_app
from rerankd.server.service import open_service
from rerankd.settings import load_settings


def test_an_address_of_no_queue_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidRequestError, match="queue_url"):
        open_service(load_settings(queue_url="redis://host:port/0"))


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", "/v1/jobs/one")])
async def test_a_folder_that_cannot_be_written_is_the_services_fault(
    tmp_path: Path, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    app = create_app(open_service(load_settings(jobs_path=str(tmp_path / "file" / "jobs.sqlite"))))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        response = await http.request(method, path, json={"query": "q", "documents": ["d"]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "60")
    assert str(tmp_path) not in response.text
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("no home"), PermissionError(13, "Permission denied")])
async def test_a_service_starts_without_a_place_for_jobs(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise error

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    service = open_service(load_settings())
    monkeypatch.setattr("pathlib.Path.home" if isinstance(error, RuntimeError) else "pathlib.Path.exists", fail)
    await service.job_service.start()
    monkeypatch.undo()
    await service.job_service.close(1)


async def test_a_service_without_a_home_has_no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    service = open_service(load_settings())
    monkeypatch.setattr("pathlib.Path.home", fail)
    with pytest.raises(UnavailableError, match="cannot store jobs"):
        await service.job_service.queue()
