"""Prometheus' own tools read what is shipped; the table of metrics is what a live gateway reports."""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.tools import ROOT, run, tool
from tests.processes import Running, provider, running

TABLE = ROOT / "docs" / "metrics.md"
CONFIG = """
server: {{host: 127.0.0.1, port: PORT}}
auth: {{mode: none}}
sessions: {{file: {{directory: "{folder}"}}}}
providers: {{p: {{kind: openai, base_url: "{url}/v1", keys: [k]}}}}
models: {{m: {{targets: [{{provider: p, model: m}}]}}}}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with provider() as (_, url), running(CONFIG.format(url=url, folder=tmp_path_factory.mktemp("s"))) as started:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
        headers = {"content-type": "application/json", "x-session-id": "s"}
        request = urllib.request.Request(f"{started.url}/v1/chat/completions", body, headers)
        urllib.request.urlopen(request, timeout=10).close()
        yield started


def exposed(gateway: Running) -> str:
    return gateway.get("/metrics")[1]


def test_promtool_accepts_the_live_metrics(gateway: Running):
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=exposed(gateway), text=True, capture_output=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("gateway_", "gen_ai_"))]
    assert done.returncode in (0, 3), done.stderr
    assert complaints == []


def test_the_table_has_every_metric_with_its_kind_its_labels_and_its_meaning(gateway: Running):
    ours = {}
    for family in text_string_to_metric_families(exposed(gateway)):
        if family.name.startswith(("gateway_", "gen_ai_")) and not family.name.endswith("_created"):
            name = family.name + ("_total" if family.type == "counter" else "")
            ours[name] = (family.type, family.documentation)
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", TABLE.read_text(), re.MULTILINE)
    assert {name: (kind, text) for name, kind, _, text in rows} == ours


def test_the_tables_labels_are_those_of_the_instruments():
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - for this test alone

    from gateway.fleet.meters import Meters  # noqa: PLC0415 - the same
    from gateway.metrics import Metrics  # noqa: PLC0415 - the same

    registry = CollectorRegistry()
    Metrics(registry)
    Meters(registry)
    labels = {
        collector._name + ("_total" if collector._type == "counter" else ""): set(collector._labelnames)
        for collector in registry._collector_to_names
    }
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \| .*? \|$", TABLE.read_text(), re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", given)) for name, given in rows} == labels


def test_promtool_accepts_configuration_and_rules():
    for check, path in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        done = run("promtool", "check", check, f"deploy/prometheus/{path}")
        assert done.returncode == 0, done.stderr


def test_every_alert_fires_when_it_should_and_only_then():
    done = run("promtool", "test", "rules", "deploy/prometheus/alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    tested = (ROOT / "deploy/prometheus/alerts.test.yml").read_text()
    for alert in re.findall(r"alert: (\w+)", (ROOT / "deploy/prometheus/alerts.yml").read_text()):
        assert f"name: {alert} fires" in tested
        assert f"name: {alert} is quiet" in tested


def test_every_alert_says_what_to_do():
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    assert text.count("- alert:") == text.count("runbook:") == text.count("summary:")


def test_panels_and_alerts_ask_for_metrics_that_are_in_the_table():
    known = set(re.findall(r"^\| `(\w+)`", TABLE.read_text(), re.MULTILINE))
    files = [*ROOT.glob("deploy/grafana/*.json"), ROOT / "deploy/prometheus/alerts.yml"]
    for path in files:
        for name in re.findall(r"\b(?:gateway|gen_ai)_\w+(?=[{\[])|gateway_\w+_total", path.read_text()):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known, f"{path.name}: {name}"
