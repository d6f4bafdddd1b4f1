"""The compose file and the image's recipe, read by the real programs."""

import json
import re

import yaml

from gateway.config import parse
from tests.deploy.tools import ROOT, run

COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"


def test_compose_accepts_the_file_with_the_example():
    done = run("docker-compose", "--env-file", str(EXAMPLE), "--profile", "demo", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert {"gateway-1", "gateway-2", "gateway-3", "balancer", "redis", "demo-provider"} <= set(services)
    assert all(port["host_ip"] == "127.0.0.1" for service in services.values() for port in service.get("ports", []))


def test_without_an_env_file_compose_says_what_to_do():
    done = run("docker-compose", "--env-file", "/dev/null", "config", "-q")
    assert done.returncode != 0
    assert "copy .env.example to .env" in done.stderr


def test_the_gateways_configuration_is_right_and_has_every_variable():
    given = dict(re.findall(r"^(\w+)=([^\s#]*)", EXAMPLE.read_text(), re.MULTILINE))
    config = parse((ROOT / "deploy/compose/gateway.yaml").read_text(), given)
    assert config.models["demo"].targets[0].provider == "demo"
    passed = yaml.safe_load(COMPOSE.read_text())["x-gateway"]["environment"]
    assert set(re.findall(r"\$\{(\w+)\}", (ROOT / "deploy/compose/gateway.yaml").read_text())) <= set(passed)


def test_a_container_may_stop_for_longer_than_the_gateway_takes():
    grace = yaml.safe_load(COMPOSE.read_text())["x-gateway"]["stop_grace_period"]
    config = yaml.safe_load((ROOT / "deploy/compose/gateway.yaml").read_text())
    assert int(grace.rstrip("s")) > int(config["server"]["shutdown_grace"].rstrip("s"))


def test_every_mounted_file_is_there():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert files
    assert all((ROOT / mount).exists() for mount in files)


def test_the_balancers_configuration_is_right():
    done = run("haproxy", "-c", "-f", "deploy/compose/haproxy.cfg")
    assert done.returncode == 0, done.stderr


def test_hadolint_finds_nothing():
    done = run("hadolint", "deploy/docker/Dockerfile")
    assert done.returncode == 0, done.stdout
