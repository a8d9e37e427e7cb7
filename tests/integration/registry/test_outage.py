"""An instance while MLflow is away: it goes on with the last known version, or says that it has none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import program
from tests.integration.mlflow_server import TrackingServer, tracking_server
from tests.integration.registry.following import exact, instance, registered, rerankd, state, under_load, version
from tests.integration.serving import free_port, until


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[TrackingServer]:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    with tracking_server(folder) as server:
        yield server


def test_serving_goes_on_without_the_tracking_server(
    tracking: TrackingServer, two_models: list[Path], known: list[tuple[float, ...]], tmp_path: Path
) -> None:
    uri = tracking.url
    registered(uri, two_models, tmp_path)
    cache = tmp_path / "a"
    with instance(uri, cache) as one, under_load([one.url]) as load:
        tracking.stop()
        until(lambda: state(one.url)["stale"])
        assert "cannot be reached" in state(one.url)["reason"]
        text = httpx.get(f"{one.url}/metrics").text
        assert "rerankd_registry_up 0.0" in text
        assert 'rerankd_registry_stale{model="med"} 1.0' in text
        with instance(uri, cache) as restarted:
            assert state(restarted.url)["stale"]
            assert version(restarted.url) == 1
            tracking.start()
            rerankd(uri, "promote", "med", "--reason", "back")
            until(lambda: {version(url) for url in (one.url, restarted.url)} == {2})
            assert not state(restarted.url)["stale"]
        until(lambda: not state(one.url)["stale"])
    exact(load.answers, known)
    rows = rerankd(uri, "history", "med")
    assert [row["reason"] for row in rows if row["kind"] == "decision"] == ["back", "the first"]
    assert {row["field"] for row in rerankd(uri, "diff", "med", "previous", "champion")} >= {"version"}
    runs = list(tracking.folder.glob("artifacts/*/*/artifacts/model/model.onnx"))
    assert len(runs) == 2


def test_an_instance_with_nothing_to_serve_says_so(tmp_path: Path) -> None:
    uri = f"http://me:hunter2@127.0.0.1:{free_port()}"
    completed = subprocess.run(
        [sys.executable, "-m", "rerankd", "serve", "--port", "0", "--model", "registry:med", "--registry", uri],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert completed.returncode == 8, completed.stderr
    assert "No version of registry:med@champion is known on this machine" in completed.stderr
    assert "hunter2" not in completed.stderr + completed.stdout
    shown = program.rerankd("config", "show", "--json", env={"RERANKD_REGISTRY": uri})
    assert "(hidden)" in shown.stdout
    assert "hunter2" not in shown.stdout
