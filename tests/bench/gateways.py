"""What can be measured: how each gateway is started, configured and asked."""

import shutil
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Gateway:
    """A gateway as a command. `{port}`, `{provider}`, `{config}` and `{directory}` are filled in everywhere.

    `config` is the name of a template in configs/, `path` what chat completions are posted to.
    """

    name: str
    command: tuple[str, ...]
    config: str = ""
    path: str = "/v1/chat/completions"
    model: str = "mock"
    headers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def installed(self) -> bool:
        if self.command[:2] == (sys.executable, "-m"):
            return find_spec(self.command[2]) is not None and find_spec(f"{self.command[2]}.__main__") is not None
        return shutil.which(self.command[0]) is not None

    def start(self, port: int, provider: int, directory: Path) -> tuple[list[str], dict[str, str]]:
        """Write the configuration; the command line and the environment."""
        known = {"port": port, "provider": provider, "directory": directory, "config": directory / self.config}
        if self.config:
            template = (CONFIGS / self.config).read_text()
            (directory / self.config).write_text(template.format(**known))
        environment = {name: value.format(**known) for name, value in self.environment.items()}
        return [part.format(**known) for part in self.command], environment


SERVER = ("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--no-access-log")

GATEWAYS = (
    Gateway("gateway", (sys.executable, "-m", "gateway", "serve", "--config", "{config}"), "gateway.yaml"),
    Gateway(
        "transport under bare ASGI",
        (sys.executable, "-m", "uvicorn", "standin:app", "--app-dir", str(Path(__file__).parent), *SERVER),
        environment={"PROVIDER": "{provider}", "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    ),
    Gateway("nginx", ("nginx", "-c", "{config}"), "nginx.conf"),
    Gateway("litellm", ("litellm", "--config", "{config}", "--host", "127.0.0.1", "--port", "{port}"), "litellm.yaml"),
    Gateway(
        "portkey",
        ("portkey-gateway", "--port={port}", "--headless"),
        headers={"x-portkey-provider": "openai", "x-portkey-custom-host": "http://127.0.0.1:{provider}/v1"},
    ),
    Gateway(
        "tensorzero",
        ("tensorzero-gateway", "--config-file", "{config}"),
        "tensorzero.toml",
        path="/openai/v1/chat/completions",
        model="tensorzero::model_name::mock",
    ),
)
