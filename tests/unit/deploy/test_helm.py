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
TOGGLES: list[tuple[dict[str, Any], set[str]]] = [
    ({"podDisruptionBudget": {"enabled": False}}, {"PodDisruptionBudget"}),
    ({"autoscaling": {"enabled": True}}, {"HorizontalPodAutoscaler"}),
    ({"ingress": {"enabled": True}}, {"Ingress"}),
    ({"networkPolicy": {"enabled": True}}, {"NetworkPolicy"}),
    ({"monitoring": {"serviceMonitor": True}}, {"ServiceMonitor"}),
    (
        {"monitoring": {"serviceMonitor": True}, "workers": {"replicas": 1}, "secretName": "secrets"},
        {"ServiceMonitor", "PodMonitor", "Deployment"},
    ),
]
PASSED_THROUGH = {"settings", "resources", "nodeSelector", "affinity", "annotations", "labels"}
Manifests = dict[tuple[str, str], dict[str, Any]]


def render(values: dict[str, Any] | None = None) -> Manifests:
    """Return the manifests that Helm renders, by kind and name."""
    with helm.Chart.load(str(CHART)) as chart:
        rendered: dict[str, str] = chart.render(values or {}, name="demo", namespace="search")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    objects = [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]
    by_name = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in objects}
    assert len(by_name) == len(objects)
    return by_name


def deployments(manifests: Manifests) -> list[dict[str, Any]]:
    return [manifest for (kind, _), manifest in manifests.items() if kind == "Deployment"]


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(manifest)["containers"]
    return dict(only)


def variables(manifest: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(manifest)["env"]}


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of the values that templates read; tables that are passed through unread count as one."""
    for name, value in values.items():
        if isinstance(value, dict) and name not in PASSED_THROUGH:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


@pytest.fixture(params=[{}, EVERYTHING], ids=["defaults", "everything"])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return render(request.param)


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_lint(values: dict[str, Any]) -> None:
    report = helm.lint(str(CHART), values, strict=True)
    assert report["errors"] == []
    assert [one for one in report["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_kubernetes_schema(manifests: Manifests, version: str) -> None:
    for (kind, _), manifest in manifests.items():
        if kind not in OF_THE_OPERATOR:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(("values", "kinds"), TOGGLES, ids=[", ".join(sorted(kinds)) for _, kinds in TOGGLES])
def test_toggles(values: dict[str, Any], kinds: set[str]) -> None:
    assert {kind for kind, _ in set(render()) ^ set(render(values))} == kinds


def test_every_value_is_used_and_every_used_one_exists() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([\w.]+)", text))
    used |= {f"{part}.{name}" for part in ("instances", "workers") for name in re.findall(r"\.part\.(\w+)", text)}
    assert used - {"instances", "workers"} == set(leaves(VALUES))


def test_schema_covers_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def compare(node: dict[str, Any], values: dict[str, Any], path: str) -> None:
        assert node["additionalProperties"] is False, path
        assert set(values) == set(node["properties"]) - {"global", "claims"}, path
        for name, value in values.items():
            inner = node["properties"][name]
            if isinstance(value, dict) and "properties" in inner and name != "resources":
                compare(inner, value, f"{path}{name}.")

    compare(schema, VALUES, "")


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
def test_schema_rejects(values: dict[str, Any]) -> None:
    with helm.Chart.load(str(CHART)) as chart, pytest.raises(helm_errors.HelmValuesError):
        chart.validate_schema(values)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"workers": {"replicas": 1}}, "redis.queueUrl"),
        ({"autoscaling": {"enabled": True, "queueTokens": 0, "cpuPercent": 0}}, "autoscaling.queueTokens"),
    ],
)
def test_values_that_cannot_work_are_rejected_by_name(values: dict[str, Any], names: str) -> None:
    with pytest.raises(helm_errors.HelmRenderError, match=re.escape(names)):
        render(values)


def test_pods_meet_the_restricted_pod_security_standard(manifests: Manifests) -> None:
    user = int(last(STAGES, "cpu", "USER").text.partition(":")[0])
    for manifest in deployments(manifests):
        whole, own = pod(manifest)["securityContext"], container(manifest)["securityContext"]
        assert whole["runAsNonRoot"] is True
        assert whole["runAsUser"] == whole["fsGroup"] == user
        assert whole["seccompProfile"]["type"] == "RuntimeDefault"
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True
        assert pod(manifest)["automountServiceAccountToken"] is False


def test_mounts_are_where_the_image_looks(manifests: Manifests) -> None:
    for manifest in deployments(manifests):
        mounted = {one["name"]: one["mountPath"] for one in container(manifest)["volumeMounts"]}
        assert mounted["settings"] == last(STAGES, "cpu", "WORKDIR").text
        assert mounted["state"] == last(STAGES, "cpu", "VOLUME").text
        assert mounted["tmp"] == "/tmp"
        assert set(mounted) == {volume["name"] for volume in pod(manifest)["volumes"]}


def test_settings_load_and_fit_the_pods(manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    written = manifests["ConfigMap", "demo-rerankd"]["data"]["rerankd.toml"]
    (tmp_path / "rerankd.toml").write_text(written)
    instances = manifests["Deployment", "demo-rerankd"]
    for name, value in {**environment(STAGES, "cpu"), **variables(instances)}.items():
        if name.startswith("RERANKD_"):
            assert name.removeprefix("RERANKD_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert all(getattr(settings, name) == value for name, value in tomllib.loads(written).items())
    (port,) = container(instances)["ports"]
    assert port["containerPort"] == settings.port
    needed = settings.drain_seconds + 1.5 * settings.shutdown_seconds + LAST_CALL_SECONDS
    assert pod(instances)["terminationGracePeriodSeconds"] > needed + 5


def test_workers_stop_within_their_grace_period() -> None:
    worker = render(EVERYTHING)["Deployment", "demo-rerankd-worker"]
    assert pod(worker)["terminationGracePeriodSeconds"] > float(variables(worker)["RERANKD_SHUTDOWN_SECONDS"]) + 5
    assert container(worker)["args"][-1] == str(container(worker)["ports"][0]["containerPort"])


def test_probes_need_no_key_and_loading_is_no_reason_to_restart(manifests: Manifests) -> None:
    instance = container(manifests["Deployment", "demo-rerankd"])
    probes = {name: probe["httpGet"]["path"] for name, probe in instance.items() if name.endswith("Probe")}
    assert set(probes) == {"startupProbe", "readinessProbe", "livenessProbe"}
    assert set(probes.values()) <= OPEN_PATHS
    assert probes["livenessProbe"] != probes["readinessProbe"] == probes["startupProbe"]


def test_selectors_match_the_pods(manifests: Manifests) -> None:
    instances = manifests["Deployment", "demo-rerankd"]
    labels = instances["spec"]["template"]["metadata"]["labels"]
    for selector in (
        manifests["Service", "demo-rerankd"]["spec"]["selector"],
        manifests["PodDisruptionBudget", "demo-rerankd"]["spec"]["selector"]["matchLabels"],
        instances["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/component"] == "instance"


def test_autoscaler_uses_a_metric_that_exists() -> None:
    scaled = render(EVERYTHING)
    spec = scaled["HorizontalPodAutoscaler", "demo-rerankd"]["spec"]
    exported = {family.name for family in open_service(load_settings()).metrics.registry.collect()}
    assert {metric["pods"]["metric"]["name"] for metric in spec["metrics"] if metric["type"] == "Pods"} <= exported
    assert "replicas" not in scaled["Deployment", "demo-rerankd"]["spec"], "the autoscaler sets the number of replicas"
    assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in scaled


def test_scrape_jobs_are_those_of_the_alerts() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    watched = render(EVERYTHING)
    service = watched["Service", "demo-rerankd"]["metadata"]["labels"]
    (endpoint,) = watched["PodMonitor", "demo-rerankd-worker"]["spec"]["podMetricsEndpoints"]
    jobs = {service[watched["ServiceMonitor", "demo-rerankd"]["spec"]["jobLabel"]]}
    jobs |= {rule["replacement"] for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"}
    assert jobs == {job["job_name"] for job in config["scrape_configs"]} - {"prometheus"}


def test_changed_settings_roll_the_pods() -> None:
    def checksum(model: str) -> str:
        deployment = render({"settings": {"model": model}})["Deployment", "demo-rerankd"]
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert checksum("mini") == checksum("mini") != checksum("other")


@pytest.mark.parametrize(("values", "warned"), [({}, True), ({"secretName": "secrets"}, False)])
def test_notes_warn_of_an_open_service(values: dict[str, Any], warned: bool) -> None:
    with helm.Chart.load(str(CHART)) as chart:
        notes = chart.render(values, name="demo")["rerankd/templates/NOTES.txt"]
    assert ("WARNING" in notes) is warned


def test_example_in_the_documentation_renders() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    values, adapter = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL))
    metrics = render(values)["HorizontalPodAutoscaler", "demo-rerankd"]["spec"]["metrics"]
    (name,) = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]
    assert name in adapter["rules"]["custom"][0]["seriesQuery"]
