from __future__ import annotations

import json
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rerankd.server.middleware import OPEN_PATHS
from rerankd.server.run import LAST_CALL_SECONDS
from rerankd.server.service import open_service
from rerankd.settings import Settings, load_settings
from tests.dockerfile import environment, last, read_dockerfile

if sys.platform == "linux" and platform.machine() != "x86_64":
    pytest.skip("Helm's library has no wheel for this machine", allow_module_level=True)
helm, helm_errors = import_module("helm_python.chart"), import_module("helm_python.errors")

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "rerankd"
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir()}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
STAGES = read_dockerfile(ROOT / "Dockerfile")
OF_THE_OPERATOR = {"ServiceMonitor", "PodMonitor"}
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.com/rerankd", "tag": "1.2.3-cuda", "pullSecrets": ["pull"]},
    "settings": {
        "model": "BAAI/bge-reranker-v2-m3",
        "max_batch_tokens": 16384,
        "max_jobs": 1_000_000,
        "max_queue_seconds": 12.5,
        "strict_models": True,
        "preload": ["big"],
        "models": {"big": "org/big"},
        "trusted_proxies": ["10.0.0.0/8"],
    },
    "redis": {"queueUrl": "redis://queue:6379/0", "cacheUrl": "rediss://cache:6379/0"},
    "secretName": "secrets",
    "keysSecretName": "keys",
    "instances": {
        "drainSeconds": 4.5,
        "shutdownSeconds": 20,
        "resources": {"requests": {"cpu": "1"}, "limits": {"nvidia.com/gpu": 1}},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "annotations": {"a": "b"},
        "env": [{"name": "HF_ENDPOINT", "value": "https://hub.example.com"}],
    },
    "workers": {"replicas": 3, "annotations": {"a": "b"}, "env": [{"name": "RERANKD_THREADS", "value": "2"}]},
    "service": {"annotations": {"a": "b"}},
    "ingress": {"enabled": True, "className": "nginx", "tlsSecretName": "tls", "annotations": {"a": "b"}},
    "autoscaling": {"enabled": True},
    "monitoring": {"serviceMonitor": True, "keySecretName": "key", "labels": {"release": "prometheus"}},
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}]},
    "serviceAccount": {"annotations": {"a": "b"}},
}


def render(values: dict[str, Any] | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    """Manifests by kind and name, by Helm itself."""
    with helm.Chart.load(str(CHART)) as chart:
        rendered: dict[str, str] = chart.render(values or {}, name="demo", namespace="search")
    objects: dict[tuple[str, str], dict[str, Any]] = {}
    for path, text in rendered.items():
        if path.endswith(".yaml"):
            for manifest in yaml.safe_load_all(text):
                if manifest:
                    key = (manifest["kind"], manifest["metadata"]["name"])
                    assert key not in objects
                    objects[key] = manifest
    return objects


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(manifest)["containers"]
    return dict(only)


def variables(manifest: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(manifest)["env"]}


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of values that templates read; tables that are handed on whole are one."""
    tables = {"settings", "resources", "nodeSelector", "affinity", "annotations", "labels"}
    for name, value in values.items():
        if isinstance(value, dict) and name not in tables:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


@pytest.fixture(params=[{}, EVERYTHING], ids=["defaults", "everything"])
def manifests(request: pytest.FixtureRequest) -> dict[tuple[str, str], dict[str, Any]]:
    return render(request.param)


def test_helm_finds_nothing_wrong() -> None:
    for values in ({}, EVERYTHING):
        report = helm.lint(str(CHART), values, strict=True)
        assert report["errors"] == []
        assert [one for one in report["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_field(manifests: dict[tuple[str, str], dict[str, Any]], version: str) -> None:
    for (kind, _), manifest in manifests.items():
        if kind not in OF_THE_OPERATOR:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_what_is_made() -> None:
    assert {kind for kind, _ in render()} == {
        "ConfigMap",
        "Deployment",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    assert {kind for kind, _ in render(EVERYTHING)} == {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


def test_every_value_is_used_and_every_used_one_is_there() -> None:
    text = "\n".join(TEMPLATES.values())
    used = set(re.findall(r"\.Values\.([\w.]+)", text))
    for part in ("instances", "workers"):
        used |= {f"{part}.{name}" for name in re.findall(r"\.part\.(\w+)", text)}
    defined = set(leaves(VALUES))
    assert used - {"instances", "workers"} == defined


def test_the_schema_covers_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def names(node: dict[str, Any], values: dict[str, Any], path: str) -> None:
        assert node["additionalProperties"] is False, path
        assert set(values) == set(node["properties"]) - {"global", "claims"}, path
        for name, value in values.items():
            inner = node["properties"][name]
            if isinstance(value, dict) and "properties" in inner and name != "resources":
                names(inner, value, f"{path}{name}.")

    names(schema, VALUES, "")


@pytest.mark.parametrize(
    "values",
    [
        {"instance": {}},
        {"instances": {"replicas": 0}},
        {"image": {"tag": "latest"}},
        {"redis": {"queueUrl": "http://queue"}},
        {"settings": {"api_keys": ["in clear text"]}},
        {"settings": {"host": "127.0.0.1"}},
        {"autoscaling": {"queueTokens": "many"}},
    ],
    ids=str,
)
def test_the_schema_refuses(values: dict[str, Any]) -> None:
    with helm.Chart.load(str(CHART)) as chart, pytest.raises(helm_errors.HelmValuesError):
        chart.validate_schema(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"workers": {"replicas": 1}}, "Workers need a queue: set redis.queueUrl"),
        ({"autoscaling": {"enabled": True, "queueTokens": 0, "cpuPercent": 0}}, "Autoscaling needs something to go by"),
    ],
)
def test_what_cannot_work_is_said(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(helm_errors.HelmRenderError, match=sentence):
        render(values)


def test_pods_can_do_little(manifests: dict[tuple[str, str], dict[str, Any]]) -> None:
    user = int(last(STAGES, "cpu", "USER").text.partition(":")[0])
    for (kind, _), manifest in manifests.items():
        if kind != "Deployment":
            continue
        pod_context, container_context = pod(manifest)["securityContext"], container(manifest)["securityContext"]
        assert pod_context["runAsNonRoot"] is True
        assert pod_context["runAsUser"] == pod_context["fsGroup"] == user
        assert container_context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod(manifest)["automountServiceAccountToken"] is False


def test_mounts_are_where_the_image_looks(manifests: dict[tuple[str, str], dict[str, Any]]) -> None:
    for (kind, _), manifest in manifests.items():
        if kind == "Deployment":
            mounted = {one["name"]: one["mountPath"] for one in container(manifest)["volumeMounts"]}
            assert mounted["settings"] == last(STAGES, "cpu", "WORKDIR").text
            assert mounted["state"] == last(STAGES, "cpu", "VOLUME").text
            assert mounted["tmp"] == "/tmp"
            assert set(mounted) == {volume["name"] for volume in pod(manifest)["volumes"]}


def test_settings_hold(
    manifests: dict[tuple[str, str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    written = manifests["ConfigMap", "demo-rerankd"]["data"]["rerankd.toml"]
    (tmp_path / "rerankd.toml").write_text(written)
    image = environment(STAGES, "cpu")
    instances = manifests["Deployment", "demo-rerankd"]
    for name, value in {**image, **variables(instances)}.items():
        if name.startswith("RERANKD_"):
            assert name.removeprefix("RERANKD_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
    settings = load_settings()
    for name, values in tomllib.loads(written).items():
        assert getattr(settings, name) == values
    (port,) = container(instances)["ports"]
    assert port["containerPort"] == settings.port
    grace = pod(instances)["terminationGracePeriodSeconds"]
    assert grace > settings.drain_seconds + 1.5 * settings.shutdown_seconds + LAST_CALL_SECONDS + 5


def test_workers_have_time_to_end() -> None:
    worker = render(EVERYTHING)["Deployment", "demo-rerankd-worker"]
    assert pod(worker)["terminationGracePeriodSeconds"] > float(variables(worker)["RERANKD_SHUTDOWN_SECONDS"]) + 5
    assert container(worker)["args"][-1] == str(container(worker)["ports"][0]["containerPort"])


def test_probes_need_no_key(manifests: dict[tuple[str, str], dict[str, Any]]) -> None:
    service = container(manifests["Deployment", "demo-rerankd"])
    paths = {name: service[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    assert set(paths.values()) <= OPEN_PATHS


def test_pods_are_found_by_what_selects_them(manifests: dict[tuple[str, str], dict[str, Any]]) -> None:
    instances = manifests["Deployment", "demo-rerankd"]
    labels = instances["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifests["Service", "demo-rerankd"]["spec"]["selector"],
        manifests["PodDisruptionBudget", "demo-rerankd"]["spec"]["selector"]["matchLabels"],
        instances["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/component"] == "instance"


def test_scales_by_a_metric_that_exists() -> None:
    scaled = render(EVERYTHING)
    spec = scaled["HorizontalPodAutoscaler", "demo-rerankd"]["spec"]
    queue, cpu = spec["metrics"]
    exported = {family.name for family in open_service(load_settings()).metrics.registry.collect()}
    assert queue["pods"]["metric"]["name"] in exported
    assert cpu["resource"]["name"] == "cpu"
    assert "replicas" not in scaled["Deployment", "demo-rerankd"]["spec"], "the autoscaler says how many"
    assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in scaled


def test_alerts_find_their_jobs() -> None:
    watched = render(EVERYTHING)
    service = watched["Service", "demo-rerankd"]["metadata"]["labels"]
    assert service[watched["ServiceMonitor", "demo-rerankd"]["spec"]["jobLabel"]] == "rerankd"
    (endpoint,) = watched["PodMonitor", "demo-rerankd-worker"]["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "rerankd-worker"}]


def test_other_settings_make_other_pods() -> None:
    def checksum(model: str) -> str:
        deployment = render({"settings": {"model": model}})["Deployment", "demo-rerankd"]
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert checksum("mini") == checksum("mini") != checksum("other")


def test_an_open_service_is_warned_of() -> None:
    def notes(values: dict[str, Any]) -> str:
        with helm.Chart.load(str(CHART)) as chart:
            return str(chart.render(values, name="demo")["rerankd/templates/NOTES.txt"])

    assert "WARNING: no API key is set" in notes({})
    assert "WARNING" not in notes({"secretName": "secrets"})


def test_the_example_of_the_documentation_works() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    values, adapter = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL))
    assert ("HorizontalPodAutoscaler", "demo-rerankd") in render(values)
    assert "rerankd_queue_tokens" in adapter["rules"]["custom"][0]["seriesQuery"]
