from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rerankd.cli.main import app
from rerankd.settings import Settings, load_settings
from tests.dockerfile import context_files, environment, last, lineage, read_dockerfile

ROOT = Path(__file__).parents[3]
STAGES = read_dockerfile(ROOT / "Dockerfile")
FINAL = ["cpu", "cuda"]
SECRET = re.compile(r"(SECRET|PASSWORD|TOKEN|API_KEY|CREDENTIAL)", re.IGNORECASE)
DOCKERFILES = sorted([ROOT / "Dockerfile", *ROOT.glob("deploy/**/Dockerfile")])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--failure-threshold", "style", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bases_are_one_pinned_image() -> None:
    bases = {stage.base for stage in STAGES.values() if stage.base not in STAGES}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())


def test_the_default_image_is_the_one_for_cpus() -> None:
    assert list(STAGES)[-1] == "cpu"


@pytest.mark.parametrize("image", FINAL)
class TestImage:
    def test_runs_as_nobody_in_particular(self, image: str) -> None:
        assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last(STAGES, image, "USER").text)
        names = [one.name for stage in lineage(STAGES, image) for one in stage.instructions]
        assert names.index("USER") < names.index("ENTRYPOINT")

    def test_commands_are_in_exec_form(self, image: str) -> None:
        assert last(STAGES, image, "ENTRYPOINT").words == ["rerankd"]
        assert last(STAGES, image, "CMD").words == ["serve"]
        assert "serve" in {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]

    def test_is_told_to_end_with_sigterm(self, image: str) -> None:
        assert last(STAGES, image, "STOPSIGNAL").text == "SIGTERM"

    def test_nothing_is_built_in_it(self, image: str) -> None:
        for stage in lineage(STAGES, image):
            for one in stage.instructions:
                assert one.name != "ADD"
                assert not (one.name == "RUN" and re.search(r"\b(pip|apt-get|curl|wget|gcc)\b", one.text)), one.text
                assert not (one.name == "COPY" and "--from=" not in one.text), (
                    "files come from the stage that built them"
                )

    def test_no_secret_is_in_it(self, image: str) -> None:
        for stage in STAGES.values():
            for one in stage.instructions:
                if one.name in ("ARG", "ENV"):
                    assert not SECRET.search(one.text), one.text

    def test_variables_are_settings_with_values_that_hold(
        self, image: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        variables = {name: value for name, value in environment(STAGES, image).items() if name.startswith("RERANKD_")}
        for name, value in variables.items():
            assert name.removeprefix("RERANKD_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
        settings = load_settings()
        assert settings.host == "0.0.0.0"  # noqa: S104  a container is reached from outside
        assert settings.log_format == "json"
        assert settings.drain_seconds > 0
        assert str(settings.port) == last(STAGES, image, "EXPOSE").text

    def test_state_is_in_the_volume(self, image: str) -> None:
        volume = last(STAGES, image, "VOLUME").text
        for name, value in environment(STAGES, image).items():
            if name in ("HOME", "RERANKD_JOBS_PATH") or name.startswith("XDG_"):
                assert value.startswith(volume), name

    def test_asks_whether_it_is_ready(self, image: str) -> None:
        command = last(STAGES, image, "HEALTHCHECK").text.partition("CMD ")[2]
        assert "/readyz" in command
        assert "curl" not in command

    def test_carries_its_version(self, image: str) -> None:
        labels = {
            name: value
            for stage in lineage(STAGES, image)
            for one in stage.instructions
            if one.name == "LABEL"
            for name, value in one.pairs.items()
        }
        assert labels["org.opencontainers.image.version"] == "${VERSION}"
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_what_is_copied_is_in_the_context() -> None:
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
    assert "fastapi>=0.115" in done.stdout.split()
    assert done.stdout.splitlines()[-1].startswith("redis")
    failed = subprocess.run([*script, "rediss"], cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode != 0
    assert failed.stderr.startswith("There is no extra rediss. Choose from: parquet, torch")
