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

    `config` is the name of a template in configs/. `asks`: what it can do. `stores`: where it keeps sessions. `announces`: it chooses
    its port itself and prints the URL. `about` is what the table says of it.
    """

    name: str
    command: tuple[str, ...]
    config: str = ""
    asks: dict[str, Ask] = field(default_factory=lambda: {SAME: Ask()})
    stores: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    announces: bool = False
    about: str = ""

    def program(self) -> str | None:
        """The path of the program, if it is installed."""
        return shutil.which(self.command[0], path=str(OTHERS / self.name / "bin")) or shutil.which(self.command[0])

    def installed(self) -> bool:
        parts = [Path(part.format(**dict.fromkeys(PLACES, ""), others=OTHERS)) for part in self.command[1:]]
        return self.program() is not None and all(part.exists() for part in parts if part.is_absolute())

    def start(self, directory: Path, **known: object) -> tuple[list[str], dict[str, str]]:
        """Write the configuration; the command line and the environment."""
        known |= {"directory": directory, "config": directory / self.config, "others": OTHERS}
        if self.config:
            (directory / self.config).write_text((CONFIGS / self.config).read_text().format(**known))
        environment = {name: value.format(**known) for name, value in self.environment.items()}
        return [str(self.program()), *(part.format(**known) for part in self.command[1:])], environment


PLACES = ("port", "provider", "redis", "store", "config", "directory")
SERVER = ("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--no-access-log")
ANTHROPIC = Ask("translated")


def bare(name: str, app: str, about: str) -> Contestant:
    """One of our own pieces under uvicorn."""
    command = (sys.executable, "-m", "uvicorn", f"standin:{app}", "--app-dir", "{here}", *SERVER)
    command = tuple(str(HERE) if part == "{here}" else part for part in command)
    return Contestant(name, command, environment={"PROVIDER": "{provider}", "PYTHONPATH": str(ROOT)}, about=about)


def portkey(provider: str) -> Ask:
    """Portkey is told in headers where to go."""
    host = "http://127.0.0.1:{provider}/v1"
    return Ask(headers={"x-portkey-provider": provider, "x-portkey-custom-host": host})


def tensorzero(model: str) -> Ask:
    return Ask(f"tensorzero::model_name::{model}", "/openai/v1/chat/completions")


CONTESTANTS = (
    Contestant(
        "gateway",
        (sys.executable, "-m", "gateway", "serve", "--config", "{config}"),
        "gateway.yaml",
        asks={SAME: Ask(), TRANSLATED: ANTHROPIC},
        stores=("file", "redis"),
        about="this one, everything on: client key, routing, metrics, log line, usage",
    ),
    bare("bare-asgi", "bare", "uvicorn and an ASGI function that answers by itself"),
    bare("bare-transport", "app", "the same with a key check, decoding, encoding and our transport"),
    Contestant("nginx", ("nginx", "-c", "{config}"), "nginx.conf", about="plain reverse proxy"),
    Contestant("envoy", ("envoy", "-c", "{config}", "--concurrency", "1"), "envoy.yaml", about="plain reverse proxy"),
    Contestant(
        "tensorzero",
        ("python", str(HERE / "tensorzero_gateway.py"), "{config}"),
        "tensorzero.toml",
        asks={SAME: tensorzero("mock"), TRANSLATED: tensorzero("translated")},
        announces=True,
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
        about="Rust, routes only",
    ),
    Contestant(
        "rolter", ("rolter", "gateway", "--config", "{config}"), "rolter.toml", about="Rust, checks a key, passes bytes"
    ),
    Contestant(
        "ferrogw",
        ("ferrogw", "serve"),
        "ferrogw.yaml",
        environment={"GATEWAY_CONFIG": "{config}", "PORT": "{port}"},
        about="Go, checks a key, rebuilds",
    ),
    Contestant(
        "portkey",
        (
            "node",
            "{others}/portkey/node_modules/@portkey-ai/gateway/build/start-server.js",
            "--port={port}",
            "--headless",
        ),
        asks={SAME: portkey("openai"), TRANSLATED: portkey("anthropic")},
        about="Node, no client key",
    ),
    Contestant(
        "litellm",
        ("litellm", "--config", "{config}", "--host", "127.0.0.1", "--port", "{port}"),
        "litellm.yaml",
        asks={SAME: Ask(), TRANSLATED: ANTHROPIC},
        about="Python, master key",
    ),
)
