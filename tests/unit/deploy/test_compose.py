from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from rerankd.cli.main import app
from rerankd.cli.worker import worker
from rerankd.server.run import LAST_CALL_SECONDS
from rerankd.settings import Settings, load_settings
from tests.dockerfile import environment, last, read_dockerfile

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(
    line.split("=", 1) for line in (DEPLOY / ".env.example").read_text().splitlines() if line and line[0] != "#"
)
INSTANCES = ["rerankd-1", "rerankd-2"]
OURS = [*INSTANCES, "worker"]
PUBLISHED = {"nginx", "grafana"}


def filled(text: str, values: dict[str, str]) -> Any:
    """Return the file with its variables, as docker fills them in: in texts, after YAML is read."""

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill(one) for name, one in value.items()}
        if isinstance(value, list):
            return [fill(one) for one in value]
        if not isinstance(value, str):
            return value
        filled_text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: values.get(match[1]) or match[2], value)
        assert "${" not in filled_text, "every variable needs a default, so that one command starts the stack"
        return filled_text

    return fill(yaml.safe_load(text))


COMPOSE = filled(TEXT, {})
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def built(service: dict[str, Any]) -> Path | None:
    """Return the Dockerfile of a service that is built here."""
    if "build" not in service:
        return None
    return DEPLOY / str(service["build"]["context"]) / "Dockerfile"


def seconds(text: str) -> float:
    """Return the seconds of a duration such as 80s."""
    return float(text.removesuffix("s"))


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (source, rest.partition(":")[0])
        for source, _, rest in (one.partition(":") for one in service.get("volumes", []))
    ]


def settings_of(
    name: str, monkeypatch: pytest.MonkeyPatch, folder: Path, values: dict[str, str] | None = None
) -> Settings:
    """Return settings as a container has them: the image's variables, the service's, and the mounted file."""
    for source, target in mounts(SERVICES[name]):
        if target == "/etc/rerankd/rerankd.toml":
            shutil.copy(DEPLOY / source, folder / "rerankd.toml")
    monkeypatch.chdir(folder)
    image = environment(read_dockerfile(ROOT / "Dockerfile"), "cpu")
    for key, value in {**image, **filled(TEXT, values or {})["services"][name]["environment"]}.items():
        if key.startswith("RERANKD_"):
            assert key.removeprefix("RERANKD_").lower() in Settings.model_fields, key
            monkeypatch.setenv(key, value)
    return load_settings()


def test_follows_the_specification() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_docker_accepts_it() -> None:
    if (
        subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
        if shutil.which("docker")
        else 1
    ):
        pytest.skip("docker compose is not here; the schema of its files is checked instead")
    done = subprocess.run(
        ["docker", "compose", "-f", DEPLOY / "compose.yaml", "config", "--quiet"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_example_names_every_variable() -> None:
    assert set(EXAMPLE) == set(re.findall(r"\$\{(\w+)", TEXT))
    defaults = {name: value for name, value in re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT) if value != "local"}
    for name, value in defaults.items():
        assert EXAMPLE[name] == value, f"{name} of .env.example is not the default of compose.yaml"


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_image_is_pinned(self, name: str) -> None:
        image, _, tag = SERVICES[name]["image"].rpartition(":")
        assert image
        assert tag != "latest"
        assert re.fullmatch(r"v?\d+(\.\d+)+(-\w+)*", tag) or (name in OURS and tag == "local")

    def test_has_a_check(self, name: str) -> None:
        service = SERVICES[name]
        if "healthcheck" in service:
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
            return
        path = built(service)
        assert path is not None, "neither the service nor an image of ours has a check"
        assert "HEALTHCHECK" in path.read_text(encoding="utf-8")

    def test_can_do_little(self, name: str) -> None:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert "privileged" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert service["restart"] == "unless-stopped"

    def test_is_not_root(self, name: str) -> None:
        service = SERVICES[name]
        if "user" in service:
            assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
            return
        path = built(service)
        assert path is not None, "neither the service nor an image of ours names a user"
        assert re.search(r"^USER [1-9]\d+:", path.read_text(encoding="utf-8"), re.MULTILINE)

    def test_only_the_front_is_published(self, name: str) -> None:
        ports = SERVICES[name].get("ports", [])
        assert bool(ports) == (name in PUBLISHED)
        assert all(port.startswith("127.0.0.1:") for port in ports), "others reach it only when somebody says so"

    def test_volumes_exist(self, name: str) -> None:
        for source, target in mounts(SERVICES[name]):
            assert target.startswith("/")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source

    def test_depends_on_services_with_a_check(self, name: str) -> None:
        for other, how in SERVICES[name].get("depends_on", {}).items():
            assert other in SERVICES
            assert how == {"condition": "service_healthy"}


def test_every_volume_is_used() -> None:
    used = {source for service in SERVICES.values() for source, _ in mounts(service)}
    assert set(COMPOSE["volumes"]) <= used


def test_grafana_is_on_this_machine_only_whatever_is_set() -> None:
    open_to_all = filled(TEXT, {"RERANKD_BIND": "0.0.0.0"})["services"]  # noqa: S104  what somebody may set
    assert open_to_all["nginx"]["ports"] == ["0.0.0.0:8080:8080"]
    assert open_to_all["grafana"]["ports"] == ["127.0.0.1:3000:3000"]


@pytest.mark.parametrize("name", OURS)
def test_settings_hold(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(name, monkeypatch, tmp_path, {"RERANKD_API_KEYS": "one,two"})
    for url in (settings.redis_url, settings.queue_url):
        assert url is not None
        host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")
        assert port in SERVICES[host]["expose"]
    if name in INSTANCES:
        assert settings.api_keys == ["one", "two"]
        assert str(settings.port) in SERVICES[name]["expose"]
        nginx = SERVICES["nginx"]["networks"]["front"]["ipv4_address"]
        assert settings.trusted_proxies == [nginx]
    state = Path(settings.jobs_path or "").parent
    assert str(state) in [target for _, target in mounts(SERVICES[name])]


@pytest.mark.parametrize("name", OURS)
def test_there_is_time_to_end(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(name, monkeypatch, tmp_path)
    assert settings.drain_seconds >= 2, "nginx needs it to take back an instance before the next one goes"
    needed = settings.drain_seconds + 1.5 * settings.shutdown_seconds + LAST_CALL_SECONDS
    assert seconds(SERVICES[name]["stop_grace_period"]) > needed + 5


def test_jobs_outlive_a_restart_and_the_cache_stays_small() -> None:
    jobs, cache = (" ".join(SERVICES[name]["command"]) for name in ("redis", "cache"))
    assert "--appendonly yes" in jobs
    assert "--maxmemory-policy noeviction" in jobs
    assert "--maxmemory-policy allkeys-lru" in cache
    assert "redis:/data" in SERVICES["redis"]["volumes"]


def test_nginx_is_as_its_generator_writes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = (DEPLOY / "compose.nginx.conf").read_text(encoding="utf-8")
    command = next(line for line in written.splitlines() if "rerankd deploy nginx" in line).lstrip("# ")
    instance = settings_of("rerankd-1", monkeypatch, tmp_path)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert done.stdout == written, "Make it again with the command in its first lines."
    for name in INSTANCES:
        assert f"server {name}:{instance.port} " in written
    target = SERVICES["nginx"]["ports"][0].rpartition(":")[2]
    assert f"listen {target};" in written
    wait = re.search(r"proxy_read_timeout (\d+)s", written)
    assert wait is not None
    assert seconds(SERVICES["nginx"]["stop_grace_period"]) > float(wait[1])


def test_fixed_addresses_lie_in_their_network() -> None:
    config = COMPOSE["networks"]["front"]["ipam"]["config"][0]
    fixed = [SERVICES[name]["networks"]["front"]["ipv4_address"] for name in ("nginx", *INSTANCES)]
    assert len(set(fixed)) == 3
    assert all(address.rpartition(".")[0] == config["subnet"].rpartition(".")[0] for address in fixed)
    assert all(int(address.rpartition(".")[2]) < 128 for address in fixed), "those above are given to others"


def test_workers_take_the_flags_they_are_given() -> None:
    command = SERVICES["worker"]["command"]
    assert command[0] == worker.__name__
    helped = CliRunner().invoke(app, ["worker", "--help"], env={"COLUMNS": "200"}).output
    assert command[1] in helped
    assert command[2] in SERVICES["worker"]["expose"]
    assert command[2] in " ".join(SERVICES["worker"]["healthcheck"]["test"])


def test_prometheus_asks_every_instance_and_worker() -> None:
    jobs = {
        job["job_name"]: job
        for job in yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    }
    assert jobs["rerankd"]["static_configs"][0]["targets"] == [f"{name}:8000" for name in INSTANCES]
    workers = jobs["rerankd-worker"]["dns_sd_configs"][0]
    assert workers["names"] == ["worker"]
    assert str(workers["port"]) in SERVICES["worker"]["expose"]
    key = jobs["rerankd"]["authorization"]["credentials_file"]
    assert f"/etc/prometheus/{key}" in [target for _, target in mounts(SERVICES["prometheus"])]


def test_grafana_finds_prometheus_and_its_dashboards() -> None:
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert port in SERVICES[host]["expose"]
    assert set(SERVICES["grafana"]["networks"]) & set(SERVICES[host]["networks"])
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/rerankd.yaml").read_text())["providers"][0]
    folders = {target: source for source, target in mounts(SERVICES["grafana"])}
    assert list((DEPLOY / folders[provider["options"]["path"]]).glob("*.json"))


def test_mlflow_and_its_database_agree() -> None:
    stages = read_dockerfile(DEPLOY / "mlflow" / "Dockerfile")
    assert SERVICES["mlflow"]["image"].rpartition(":")[2] in (DEPLOY / "mlflow" / "Dockerfile").read_text()
    uri = SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    database = SERVICES["postgres"]["environment"]
    user, password = database["POSTGRES_USER"], database["POSTGRES_PASSWORD"]
    assert uri == f"postgresql://{user}:{password}@postgres:5432/mlflow"
    assert "CREATE DATABASE mlflow;" in (DEPLOY / "postgres/init.sql").read_text()
    name = next(iter(stages))
    assert last(stages, name, "VOLUME").text in [target for _, target in mounts(SERVICES["mlflow"])]


def test_the_settings_file_has_no_secret() -> None:
    table = tomllib.loads((DEPLOY / "rerankd.toml").read_text())
    assert not set(table) & {"api_keys", "webhook_secret", "redis_url", "queue_url"}
