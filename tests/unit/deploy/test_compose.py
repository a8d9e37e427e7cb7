from __future__ import annotations

import ipaddress
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
from rerankd.cli.serve import SECRET
from rerankd.server.run import LAST_CALL_SECONDS
from rerankd.settings import Settings, load_settings
from tests.dockerfile import environment, last, read_dockerfile

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
VARIABLES = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT))
INSTANCES = ["rerankd-1", "rerankd-2"]
BUILT = [*INSTANCES, "worker"]
PUBLISHED = {"nginx", "grafana"}


def substitute(text: str, values: dict[str, str]) -> Any:
    """Return the file with its variables substituted as docker does it: in strings, after YAML is parsed."""

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: replace(one) for name, one in value.items()}
        if isinstance(value, list):
            return [replace(one) for one in value]
        if not isinstance(value, str):
            return value
        replaced = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: values.get(match[1]) or match[2], value)
        assert "${" not in replaced, "every variable needs a default, so that one command starts the stack"
        return replaced

    return replace(yaml.safe_load(text))


COMPOSE = substitute(TEXT, {})
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def dockerfile(service: dict[str, Any]) -> tuple[Path, str] | None:
    """Return the Dockerfile and the stage of a service that is built here."""
    if "build" not in service:
        return None
    path = DEPLOY / str(service["build"]["context"]) / "Dockerfile"
    return path, service["build"].get("target") or list(read_dockerfile(path))[-1]


def image_instruction(service: dict[str, Any], name: str) -> str:
    """Return an instruction of the image that is built for the service."""
    built = dockerfile(service)
    assert built is not None, f"neither the service nor an image that is built here has {name}"
    return last(read_dockerfile(built[0]), built[1], name).text


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return sources by mount point."""
    volumes = [volume.split(":") for volume in service.get("volumes", [])]
    return {target: source for source, target, *_ in volumes}


def options(name: str) -> dict[str, str]:
    """Return the options of a Redis server's command line."""
    _, *words = SERVICES[name]["command"]
    return {flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)}


def redis_host(url: str | None) -> str:
    """Return the service that a Redis URL names; its port must be exposed."""
    assert url is not None
    host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")
    assert port in SERVICES[host]["expose"]
    return host


def settings_of(
    name: str, monkeypatch: pytest.MonkeyPatch, folder: Path, values: dict[str, str] | None = None
) -> Settings:
    """Return the settings of a container: the image's variables, the service's, and the mounted file."""
    shutil.copy(DEPLOY / mounts(SERVICES[name])["/etc/rerankd/rerankd.toml"], folder / "rerankd.toml")
    monkeypatch.chdir(folder)
    image = environment(read_dockerfile(ROOT / "Dockerfile"), "cpu")
    for key, value in {**image, **substitute(TEXT, values or {})["services"][name]["environment"]}.items():
        if key.startswith("RERANKD_"):
            assert key.removeprefix("RERANKD_").lower() in Settings.model_fields, key
            monkeypatch.setenv(key, value)
    return load_settings()


def test_schema() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_docker_accepts_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed; the file is checked against its schema instead")
    command = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_example_has_every_variable_with_its_default() -> None:
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and line[0] != "#")
    assert set(example) == set(VARIABLES) == set(re.findall(r"\$\{(\w+)", TEXT))
    assert {name: value or VARIABLES[name] for name, value in example.items()} == VARIABLES


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_image_is_pinned(self, name: str) -> None:
        image, _, tag = SERVICES[name]["image"].rpartition(":")
        assert image
        assert re.fullmatch(r"v?\d+(\.\d+)+(-\w+)*", tag) or (name in BUILT and tag == "local")

    def test_has_a_health_check(self, name: str) -> None:
        assert SERVICES[name].get("healthcheck") or image_instruction(SERVICES[name], "HEALTHCHECK")

    def test_is_hardened(self, name: str) -> None:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"cap_add", "privileged"} & set(service)
        assert service["mem_limit"]
        user = service.get("user") or image_instruction(service, "USER")
        assert re.fullmatch(r"[1-9]\d*:\d+", user)

    def test_mounts_and_dependencies_exist(self, name: str) -> None:
        for target, source in mounts(SERVICES[name]).items():
            assert target.startswith("/")
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source
        for other, how in SERVICES[name].get("depends_on", {}).items():
            assert other in SERVICES
            assert how["condition"] == "service_healthy"


def test_every_volume_is_used() -> None:
    assert set(COMPOSE["volumes"]) <= {source for service in SERVICES.values() for source in mounts(service).values()}


def test_ports_are_bound_to_this_machine_until_somebody_says_otherwise() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == PUBLISHED
    assert all(port.startswith("127.0.0.1:") for service in ports.values() for port in service)
    opened = substitute(TEXT, {"RERANKD_BIND": "192.0.2.1"})["services"]
    assert opened["nginx"]["ports"][0].startswith("192.0.2.1:")
    assert opened["grafana"]["ports"] == ports["grafana"], "RERANKD_BIND opens the API, not the dashboards"


@pytest.mark.parametrize("name", BUILT)
def test_settings_load_and_fit_the_stack(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(name, monkeypatch, tmp_path, {"RERANKD_API_KEYS": "one,two"})
    queue, cache = redis_host(settings.queue_url), redis_host(settings.redis_url)
    assert (options(queue)["appendonly"], options(queue)["maxmemory-policy"]) == ("yes", "noeviction"), "docs/jobs.md"
    assert "/data" in mounts(SERVICES[queue])
    assert options(cache)["maxmemory-policy"] != "noeviction", "a full cache must evict, not refuse"
    assert str(Path(settings.jobs_path or "").parent) in mounts(SERVICES[name])
    if name in INSTANCES:
        assert settings.api_keys == ["one", "two"]
        assert str(settings.port) in SERVICES[name]["expose"]
        assert settings.trusted_proxies == [SERVICES["nginx"]["networks"]["front"]["ipv4_address"]]


@pytest.mark.parametrize("name", BUILT)
def test_stops_within_its_grace_period(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(name, monkeypatch, tmp_path)
    assert settings.drain_seconds >= 2, "nginx takes an instance back after a second; the next must not stop earlier"
    needed = settings.drain_seconds + 1.5 * settings.shutdown_seconds + LAST_CALL_SECONDS
    assert seconds(SERVICES[name]["stop_grace_period"]) > needed + 5


def test_nginx_is_generated_and_fits_the_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = (DEPLOY / "compose.nginx.conf").read_text(encoding="utf-8")
    command = next(line for line in config.splitlines() if "rerankd deploy nginx" in line).lstrip("# ")
    instance = settings_of("rerankd-1", monkeypatch, tmp_path)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert done.stdout == config, "Generate it again with the command in its first lines."
    assert set(re.findall(r"server ([\w-]+:\d+) ", config)) == {f"{name}:{instance.port}" for name in INSTANCES}
    assert re.findall(r"listen (\d+);", config) == [SERVICES["nginx"]["ports"][0].rpartition(":")[2]]
    (timeout,) = re.findall(r"proxy_read_timeout (\d+)s", config)
    assert seconds(SERVICES["nginx"]["stop_grace_period"]) > float(timeout)


def test_fixed_addresses_are_in_the_network_and_outside_its_dynamic_range() -> None:
    (pool,) = COMPOSE["networks"]["front"]["ipam"]["config"]
    names = ["nginx", *INSTANCES]
    fixed = {ipaddress.ip_address(SERVICES[name]["networks"]["front"]["ipv4_address"]) for name in names}
    assert len(fixed) == len(names)
    for address in fixed:
        assert address in ipaddress.ip_network(pool["subnet"])
        assert address not in ipaddress.ip_network(pool["ip_range"])


def test_worker_command_and_port() -> None:
    command, host_flag, host, flag, port = SERVICES["worker"]["command"]
    assert (host_flag, host) == ("--metrics-host", "0.0.0.0")  # noqa: S104  inside the network of the containers
    assert flag in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert port in SERVICES["worker"]["expose"]
    assert port in " ".join(SERVICES["worker"]["healthcheck"]["test"])


def test_prometheus_scrapes_every_instance_and_worker() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    expected = {f"{name}:{port}" for name in INSTANCES for port in SERVICES[name]["expose"]}
    assert {target for one in jobs["rerankd"]["static_configs"] for target in one["targets"]} == expected
    (workers,) = jobs["rerankd-worker"]["dns_sd_configs"]
    assert workers["names"] == ["worker"]
    assert str(workers["port"]) in SERVICES["worker"]["expose"]
    for file in (*config["rule_files"], jobs["rerankd"]["authorization"]["credentials_file"]):
        assert f"/etc/prometheus/{file}" in mounts(SERVICES["prometheus"])


def test_grafana_reaches_prometheus_and_its_dashboards() -> None:
    provisioning = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert port in SERVICES[host]["expose"]
    assert set(SERVICES["grafana"]["networks"]) & set(SERVICES[host]["networks"])
    (provider,) = yaml.safe_load((provisioning / "dashboards/rerankd.yaml").read_text())["providers"]
    folder = provider["options"]["path"]
    assert list((DEPLOY / mounts(SERVICES["grafana"])[folder]).glob("*.json"))
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (DEPLOY / mounts(SERVICES["grafana"])[str(home.parent)] / home.name).exists()


def test_mlflow_reaches_its_database() -> None:
    uri = SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    user, password, host, port, database = re.fullmatch(r"postgresql://(.+):(.+)@(.+):(\d+)/(\w+)", uri).groups()  # type: ignore[union-attr]
    settings = SERVICES[host]["environment"]
    assert (user, password) == (settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"])
    assert port in SERVICES[host]["expose"]
    assert f"CREATE DATABASE {database};" in (DEPLOY / "postgres/init.sql").read_text(encoding="utf-8")
    assert image_instruction(SERVICES["mlflow"], "VOLUME") in mounts(SERVICES["mlflow"])
    version = SERVICES["mlflow"]["image"].rpartition(":")[2]
    assert f"mlflow=={version} " in (DEPLOY / "mlflow/Dockerfile").read_text(encoding="utf-8")


def test_settings_file_has_no_secret() -> None:
    assert not set(tomllib.loads((DEPLOY / "rerankd.toml").read_text(encoding="utf-8"))) & SECRET
