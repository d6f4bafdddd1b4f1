"""The chart, rendered by Helm 3 and Helm 4: valid for Kubernetes, safe by default, and plain about mistakes."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.schema import FILE, rendered
from gateway.config import parse
from tests.deploy.tools import CHART, ROOT, module, run

HELMS = ("helm3", "helm4")
SETS = {
    path.stem: path for path in (*ROOT.glob("deploy/helm/examples/*.yaml"), *ROOT.glob("tests/deploy/values/*.yaml"))
}
DEMO = ("--set", "demo.enabled=true", "--set", "redis.bundled.enabled=true", "--set", "config.auth.mode=none")
NEWEST = "1.34.0"

Document = dict[str, Any]


@lru_cache
def render(helm: str, values: str, kube: str = NEWEST) -> list[Document]:
    done = run(helm, "template", "gw", str(CHART), "-f", str(SETS[values]), "--kube-version", kube, "-n", "llm")
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def kinds(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def refused(helm: str, *arguments: str) -> str:
    done = run(helm, "template", "gw", str(CHART), *arguments)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("values", SETS)
def test_lint_finds_nothing(helm: str, values: str):
    done = run(helm, "lint", "--strict", str(CHART), "-f", str(SETS[values]))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", SETS)
def test_both_versions_render_the_same(values: str):
    def told(helm: str) -> list[str]:
        return sorted(json.dumps(document, sort_keys=True) for document in render(helm, values) if not secret(document))

    def secret(document: Document) -> bool:
        return document["kind"] == "Secret"  # its password is random

    assert told("helm3") == told("helm4")


@pytest.mark.parametrize("kube", ["1.29.0", NEWEST])
@pytest.mark.parametrize("values", SETS)
def test_kubernetes_accepts_every_document(values: str, kube: str):
    validator = module("kubernetes_validate")
    for document in render("helm3", values, kube):
        if document["apiVersion"].startswith("monitoring.coreos.com"):
            continue  # its schema is the operator's
        validator.validate(document, kube.rpartition(".")[0], strict=True)


@pytest.mark.parametrize(
    ("kube", "autoscaler", "budget"),
    [("1.20.0", "autoscaling/v2beta2", "policy/v1beta1"), ("1.24.0", "autoscaling/v2", "policy/v1")],
)
def test_older_clusters_get_the_interfaces_they_have(kube: str, autoscaler: str, budget: str):
    documents = render("helm3", "production", kube)
    assert kinds(documents, "HorizontalPodAutoscaler")[0]["apiVersion"] == autoscaler
    assert kinds(documents, "PodDisruptionBudget")[0]["apiVersion"] == budget


@pytest.mark.parametrize("values", [name for name in SETS if name != "existing-secrets"])
def test_the_gateway_accepts_its_configuration(values: str):
    text = kinds(render("helm3", values), "ConfigMap")[0]["data"]["gateway.yaml"]
    environ = {name: f"redis://{name}" for name in re.findall(r"\$\{(\w+)\}", text)}
    config = parse(text, environ)
    assert config.models
    assert config.server.host == "0.0.0.0"


@pytest.mark.parametrize("values", SETS)
def test_no_secret_is_in_a_config_map_and_no_container_runs_as_root(values: str):
    documents = render("helm3", values)
    for config_map in kinds(documents, "ConfigMap"):
        assert "for-a-test-only" not in json.dumps(config_map)
    pods = [d["spec"]["template"]["spec"] for d in documents if d["kind"] in ("Deployment", "StatefulSet")]
    pods += [pod["spec"] for pod in kinds(documents, "Pod")]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            if not container["image"].startswith("busybox"):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_an_upgrade_brings_a_new_pod_before_an_old_one_goes():
    spec = kinds(render("helm3", "production"), "Deployment")[0]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = spec["template"]["spec"]
    grace, pause = (
        pod["terminationGracePeriodSeconds"],
        int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1]),
    )
    assert grace >= pause + 120


def test_the_api_and_management_are_on_hosts_of_their_own():
    api, management = kinds(render("helm3", "production"), "Ingress")
    assert [path["path"] for path in api["spec"]["rules"][0]["http"]["paths"]] == ["/v1", "/v1beta"]
    assert management["spec"]["rules"][0]["host"] != api["spec"]["rules"][0]["host"]
    assert "10.0.0.0/8" in management["metadata"]["annotations"].values()


def test_the_demo_provider_outlives_the_gateway_beside_it():
    gateway, demo = kinds(render("helm3", "everything-on"), "Deployment")[0]["spec"]["template"]["spec"]["containers"][
        :2
    ]
    pauses = [int(each["lifecycle"]["preStop"]["exec"]["command"][1]) for each in (gateway, demo)]
    assert pauses[0] < pauses[1]


def test_management_has_a_port_and_a_service_of_its_own_if_asked():
    documents = render("helm3", "everything-on")
    services = {service["metadata"]["name"]: service for service in kinds(documents, "Service")}
    own = services["gw-llm-management"]
    assert own["spec"]["ports"][0]["port"] == 8082
    assert [port["name"] for port in services["gw-llm"]["spec"]["ports"]] == ["http"]
    container = kinds(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "management", "containerPort": 8099, "protocol": "TCP"} in container["ports"]
    config = yaml.safe_load(kinds(documents, "ConfigMap")[0]["data"]["gateway.yaml"])
    assert config["management"]["port"] == 8099
    ingress = kinds(documents, "Ingress")[1]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert ingress == {"name": "gw-llm-management", "port": {"name": "management"}}


def test_management_has_no_service_of_its_own_unless_asked():
    documents = render("helm3", "minimal")
    assert [service["metadata"]["name"] for service in kinds(documents, "Service")] == ["gw-gateway"]


def test_the_network_lets_in_whom_it_should_and_out_to_the_collector():
    policy = kinds(render("helm3", "everything-on"), "NetworkPolicy")[0]["spec"]
    http, management = policy["ingress"]
    assert management["ports"] == [{"port": "management", "protocol": "TCP"}]
    assert management["from"] == [{"podSelector": {"matchLabels": {"app": "admin"}}}]
    assert http["from"][-1]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"
    out = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert sorted(out) == [53, 53, 443, 4318, 6379, 8443]


def test_nobody_reaches_management_of_its_own_port_unless_named():
    settings = ("networkPolicy.enabled=true", "management.port=8081", "config.management.key=${K}")
    done = run("helm3", "template", "gw", str(CHART), *DEMO, *(part for s in settings for part in ("--set", s)))
    policies = [d for d in yaml.safe_load_all(done.stdout) if d and d["kind"] == "NetworkPolicy"]
    assert [port["port"] for rule in policies[0]["spec"]["ingress"] for port in rule["ports"]] == ["http"]


def test_a_changed_setting_restarts_the_pods():
    def checksum(*more: str) -> str:
        done = run("helm3", "template", "gw", str(CHART), *DEMO, *more)
        return re.search(r"checksum/config: (\w+)", done.stdout)[1]  # type: ignore[index]

    assert checksum() == checksum()
    assert checksum() != checksum("--set", "config.history.max_turns=7")


def test_the_bundled_redis_keeps_what_it_is_given():
    command = kinds(render("helm3", "demo"), "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert "--appendfsync everysec" in command[-1]
    assert "--maxmemory-policy noeviction" in command[-1]


def test_dashboards_and_rules_are_those_of_the_compose_file():
    documents = render("helm3", "production")
    shipped = {
        name: text for d in kinds(documents, "ConfigMap") for name, text in d["data"].items() if name.endswith("json")
    }
    ours = {f"gateway-{path.name}": json.loads(path.read_text()) for path in ROOT.glob("deploy/grafana/*.json")}
    assert len(ours) == 3
    assert {name: json.loads(text) for name, text in shipped.items()} == ours
    rule = kinds(documents, "PrometheusRule")[0]["spec"]
    assert rule == yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())


WRONG = {
    "a misspelt value": (["replicaCuont=3"], "replicaCuont"),
    "a misspelt setting of the gateway": (["config.server.max_bdoy=1MiB"], "max_bdoy"),
    "a setting that the chart makes": (["config.server.port=9"], "port"),
    "a number without a unit": (["config.sessions.ttl=24"], "ttl"),
    "a key in the ConfigMap": (["config.auth.keys[0].id=a", "config.auth.keys[0].key=sk-plain"], "key"),
    "a provider's key in the ConfigMap": (["config.providers.x.keys[0]=sk-plain"], "keys"),
    "a secret header in the ConfigMap": (["config.providers.x.headers.x-api-key=plain"], "x-api-key"),
    "a collector's token in the ConfigMap": (["config.tracing.headers.Authorization=Bearer plain"], "Authorization"),
    "a password in the ConfigMap": (["config.sessions.redis.url=redis://a:secret@h/0"], "url"),
    "a password in a value": (["redis.bundled.enabled=false", "redis.url=redis://:secret@h/0"], "url"),
    "an unknown mode": (["redis.mode=sharded"], "sharded|mode"),
    "no client keys": (["config.auth.mode=keys"], "config.auth.keys: there are no client keys"),
    "no provider": (["demo.enabled=false"], "config.providers: there is no provider"),
    "files in two pods": (["redis.bundled.enabled=false"], "Sessions in files are for one pod"),
    "files and autoscaling": (
        ["redis.bundled.enabled=false", "replicaCount=1", "autoscaling.enabled=true"], "Sessions in files",
    ),
    "files and Redis": (["config.sessions.store=file"], "config.sessions.store"),
    "two Redises": (["redis.existingSecret=r"], "redis.bundled.enabled"),
    "a bundled cluster": (["redis.mode=cluster"], "redis.mode"),
    "an ingress for nobody": (["ingress.enabled=true"], "ingress.hosts"),
    "management open to all": (["management.ingress.enabled=true", "management.ingress.host=a.b"], "allowList"),
    "management beside the API": (
        [*(f"{name}.enabled=true" for name in ("ingress", "management.ingress")), "ingress.hosts[0]=a.b",
         "management.ingress.host=a.b"],
        "management.ingress.host",
    ),
    "management's port in the configuration": (["config.management.port=8081"], "port"),
    "management on the API's port": (["management.port=8080"], "port"),
    "a port for management that does not exist": (["management.port=8081"], "management.port: there is no management"),
    "an ingress to management that the network stops": (
        ["management.port=8081", "config.management.key=${K}", "management.ingress.enabled=true",
         "management.ingress.host=a.b", "management.ingress.allowList[0]=10.0.0.0/8", "networkPolicy.enabled=true"],
        "networkPolicy.managementFrom",
    ),
    "no address": (["management.ingress.allowList[0]=office"], "allowList"),
    "less time than a shutdown takes": (["shutdown.gracePeriodSeconds=30"], "shutdown.gracePeriodSeconds"),
    "an upgrade that cannot go on": (["strategy.maxSurge=0"], "strategy"),
    "nothing to scale by": (
        ["autoscaling.enabled=true", "autoscaling.targetCPUUtilizationPercentage=null"], "autoscaling",
    ),
}  # fmt: skip


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_refused_and_named(helm: str, mistake: str):
    settings, named = WRONG[mistake]
    told = refused(helm, *DEMO, *(part for setting in settings for part in ("--set", setting)))
    assert re.search(named, told)


def test_the_schema_knows_todays_settings():
    text = FILE.read_text()
    assert rendered(text) == text, "run `python deploy/schema.py`"


def test_every_value_has_a_schema_and_every_schema_a_value():
    schema, values = json.loads(FILE.read_text()), yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(schema: Any, value: Any, path: str) -> None:
        names = schema.get("properties", {})
        if not names:
            return
        assert schema["additionalProperties"] is False, path
        assert set(value) == set(names) - {"global", "initialDelaySeconds", "successThreshold"} - optional(path), path
        for name, inner in names.items():
            if isinstance(value.get(name), dict):
                compare(inner, value[name], f"{path}.{name}")

    def optional(path: str) -> set[str]:
        return {"requests", "limits"} - set(values["resources"]) if path.endswith("resources") else set()

    compare(schema, values, "")


def test_the_examples_are_packaged_with_nothing_secret():
    assert len(SETS) >= 8
    assert all("sk-" not in Path(path).read_text() for path in SETS.values())
