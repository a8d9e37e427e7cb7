from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.dockerfile import Instruction, last
from tests.integration.image import Image, first_process, images, unable
from tests.integration.serving import Served, free_port, wait_ready

ROOT = Path(__file__).parents[2]
VERSION = "7.8.9"
pytestmark = pytest.mark.timeout(600)  # the image is built for the first of them


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Return the image for CPUs, built as its Dockerfile says."""
    if why := unable():
        pytest.skip(f"No image is built: {why}")
    with images(ROOT, VERSION=VERSION) as built:
        built.build("cpu")
        yield built


@pytest.fixture(scope="module")
def served(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a container of it, ready."""
    port, log = free_port(), tmp_path_factory.mktemp("image") / "log"
    words = [*last(image.stages, "cpu", "ENTRYPOINT").words, *last(image.stages, "cpu", "CMD").words]
    command = image.command("cpu", {"RERANKD_PORT": str(port), "RERANKD_DRAIN_SECONDS": "0.5"}, words)
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    served = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_ready(served)
        yield served
    finally:
        process.kill()
        process.wait()


def healthy(image: Image, port: str) -> subprocess.CompletedProcess[bytes]:
    """Return the result of the image's health check."""
    check = last(image.stages, "cpu", "HEALTHCHECK").text.partition("CMD ")[2]
    words = Instruction("CMD", check).words
    return subprocess.run(image.command("cpu", {"RERANKD_PORT": port}, words), capture_output=True, timeout=30)


def test_serves_from_a_read_only_root_as_nobody_in_particular(image: Image, served: Served) -> None:
    first = first_process(served.process)
    assert set(first.uids()) == set(first.gids()) == {10001}
    status = Path(f"/proc/{first.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1] == "1"
    mounts = [line.split() for line in Path(f"/proc/{first.pid}/mounts").read_text().splitlines()]
    assert {where: options.split(",")[0] for _, where, _, options, *_ in mounts}["/"] == "ro"
    response = httpx.post(f"{served.url}/v1/rerank", json={"query": "panda", "documents": ["bamboo", "car"]})
    assert response.status_code == 200


def test_has_the_version_it_was_built_with(image: Image, served: Served) -> None:
    command = image.command("cpu", {}, ["rerankd", "--version"])
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout == f"rerankd {VERSION}\n"
    assert httpx.get(f"{served.url}/info").json()["version"] == VERSION
    assert f'rerankd_build_info{{version="{VERSION}"}} 1.0' in httpx.get(f"{served.url}/metrics").text


def test_its_own_check_tells_ready_from_not(image: Image, served: Served) -> None:
    assert healthy(image, served.url.rpartition(":")[2]).returncode == 0
    assert healthy(image, str(free_port())).returncode != 0


def test_every_extra_is_in_it(image: Image, served: Served) -> None:
    code = "import celery, redis, pyarrow, opentelemetry.sdk"
    subprocess.run(image.command("cpu", {}, ["python", "-c", code]), check=True)


def test_a_worker_works_and_ends_as_told(image: Image, redis_url: str, tmp_path: Path) -> None:
    worker = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["worker"]
    port = str(free_port())
    words = ["rerankd", *(port if word == "8001" else word for word in worker["command"])]
    check = [word.replace("8001", port) for word in worker["healthcheck"]["test"][1:]]
    with (tmp_path / "log").open("wb") as sink:
        command = image.command("cpu", {"RERANKD_QUEUE_URL": redis_url}, words)
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(image.command("cpu", {}, check), capture_output=True).returncode:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        os.kill(first_process(process).pid, signal.SIGTERM)
        # 143 if it came before Celery took over.
        assert process.wait(30) in (0, 143), (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def test_nothing_that_builds_is_in_it(image: Image, served: Served) -> None:
    environment = image.folder("cpu") / "opt/venv"
    names = ["-name", "pip", "-o", "-name", "torch", "-o", "-name", "pytest"]
    assert image.inside("find", str(environment), "-maxdepth", "4", *names).stdout == ""


def test_ends_as_told_when_it_is_the_first_process(image: Image, served: Served) -> None:
    os.kill(first_process(served.process).pid, signal.SIGTERM)
    assert served.process.wait(20) == 0, served.log
    assert "draining" in served.log
