from __future__ import annotations

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rerankd.cli.main import app
from rerankd.settings import Settings, load_settings
from tests.dockerfile import Instruction, context_files, environment, last, lineage, read_dockerfile

ROOT = Path(__file__).parents[3]
STAGES = read_dockerfile(ROOT / "Dockerfile")
FINAL = ["cpu", "cuda"]
SECRET = re.compile(r"(SECRET|PASSWORD|TOKEN|API_KEY|CREDENTIAL)", re.IGNORECASE)
DOCKERFILES = sorted([ROOT / "Dockerfile", *ROOT.glob("deploy/**/Dockerfile")])
WORKER = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))["services"]["worker"]


@contextmanager
def answering(path: str, status: int, body: bytes) -> Iterator[int]:
    """Serve one path on a free port; everything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health_check(dockerfile: Path, stage: str) -> list[str]:
    return Instruction("CMD", last(read_dockerfile(dockerfile), stage, "HEALTHCHECK").text.partition("CMD ")[2]).words


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_hadolint(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--failure-threshold", "style", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stages_share_one_pinned_python_and_the_default_is_for_cpus() -> None:
    (base,) = {stage.base for stage in STAGES.values() if stage.base not in STAGES}  # /opt/venv moves between stages
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base)
    assert list(STAGES)[-1] == "cpu"


def test_no_secret_is_baked_in() -> None:
    for path in DOCKERFILES:
        for stage in read_dockerfile(path).values():
            for one in stage.instructions:
                assert not (one.name in ("ARG", "ENV") and SECRET.search(one.text)), one.text


@pytest.mark.parametrize(
    ("command", "port", "path", "ready", "not_ready"),
    [
        pytest.param(health_check(ROOT / "Dockerfile", "cpu"), "", "/readyz", (200, b""), (503, b""), id="instance"),
        pytest.param(
            *(WORKER["healthcheck"]["test"][1:], "8001", "/metrics"),
            *((200, b"rerankd_ready 1.0\n"), (200, b"rerankd_ready 0.0\n")),
            id="worker",
        ),
        pytest.param(
            *(health_check(ROOT / "deploy/mlflow/Dockerfile", ""), "5000", "/health"),
            *((200, b"OK"), (500, b"")),
            id="mlflow",
        ),
    ],
)
def test_health_checks_tell_ready_from_not(
    command: list[str], port: str, path: str, ready: tuple[int, bytes], not_ready: tuple[int, bytes]
) -> None:
    assert command[0] == "python"
    codes = []
    for status, body in (ready, not_ready):
        with answering(path, status, body) as free:
            words = [word.replace(port, str(free)) if port else word for word in command[1:]]
            codes.append(subprocess.run([sys.executable, *words], env={"RERANKD_PORT": str(free)}).returncode)
    assert codes == [0, 1]


@pytest.mark.parametrize("image", FINAL)
class TestImage:
    def test_user_is_numeric_and_not_root(self, image: str) -> None:
        assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last(STAGES, image, "USER").text), "for runAsNonRoot"

    def test_default_command_exists(self, image: str) -> None:
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
        (program,) = last(STAGES, image, "ENTRYPOINT").words
        assert program in scripts
        assert CliRunner().invoke(app, [*last(STAGES, image, "CMD").words, "--help"]).exit_code == 0

    def test_final_stages_neither_build_nor_download(self, image: str) -> None:
        for stage in lineage(STAGES, image):
            for one in stage.instructions:
                assert one.name != "ADD"
                assert not (one.name == "RUN" and re.search(r"\b(pip|apt-get|curl|wget|gcc)\b", one.text)), one.text
                assert one.name != "COPY" or "--from=" in one.text, "files come from the stage that built them"

    def test_settings_load_and_fit_the_image(self, image: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        variables = environment(STAGES, image)
        for name, value in variables.items():
            if name.startswith("RERANKD_"):
                assert name.removeprefix("RERANKD_").lower() in Settings.model_fields
                monkeypatch.setenv(name, value)
        settings = load_settings()
        assert settings.host == "0.0.0.0"  # noqa: S104  a container is reached from outside
        assert str(settings.port) == last(STAGES, image, "EXPOSE").text
        assert settings.drain_seconds > 0
        volume = last(STAGES, image, "VOLUME").text
        paths = {name: value for name, value in variables.items() if name == "HOME" or name.startswith("XDG_")}
        for path in (*paths.values(), settings.jobs_path or ""):
            assert path.startswith(volume)


def test_build_context_has_what_is_copied() -> None:
    allowed = context_files(ROOT)
    for stage in STAGES.values():
        for one in stage.instructions:
            if one.name == "COPY" and "--from=" not in one.text:
                for source in one.text.split()[:-1]:
                    assert Path(source) in allowed, f"{source} is left out by .dockerignore"
    for path in allowed:
        assert (ROOT / path).exists(), path


def test_requirements_of_extras() -> None:
    script = [sys.executable, "scripts/requirements.py"]
    done = subprocess.run([*script, "redis"], cwd=ROOT, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert done.stdout.splitlines() == [*project["dependencies"], *project["optional-dependencies"]["redis"]]
    failed = subprocess.run([*script, "rediss"], cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode != 0
    assert failed.stderr.startswith("There is no extra rediss. Choose from: ")
