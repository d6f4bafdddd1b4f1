"""The command line of `gateway`: what may be said, and help that shows how."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction

from gateway import __version__
from gateway.commands import operator

_EPILOG = """examples:
  gateway demo                                   a first conversation, without any account
  OPENAI_API_KEY=sk-... gateway serve            a gateway for one vendor, without a file
  gateway check --config config/gateway.yaml     what a configuration means, or what is wrong with it
  gateway serve --config config/gateway.yaml     the gateway

Clients use http://127.0.0.1:8080/v1 as their base URL. With the header X-Session-ID: <id> they send only
their newest message, and the gateway remembers the rest.
"""

_SERVE = """Run the gateway. Ctrl-C or SIGTERM stops it when the replies in progress are finished
(server.shutdown_grace at most)."""

_SERVE_EPILOG = """examples:
  gateway serve --config gateway.yaml
  gateway serve --config gateway.yaml --port 9000 --workers 4
  ANTHROPIC_API_KEY=sk-ant-... gateway serve
  GATEWAY_REDIS_URL=redis://localhost:6379/0 gateway serve --config gateway.yaml

Without a file, OPENAI_API_KEY, ANTHROPIC_API_KEY and GEMINI_API_KEY are enough: the models gpt-*, claude-* and
gemini-* are served by the vendors whose key is set.

environment: GATEWAY_CONFIG names the file. GATEWAY_HOST, GATEWAY_PORT, GATEWAY_WORKERS, GATEWAY_REDIS_URL (sessions
in Redis) and GATEWAY_MANAGEMENT_KEY stand above the file; the flags stand above them.
"""

_CHECK = "Read a configuration. Explain the first mistake (exit code 2), or print what it means, with warnings."

_CHECK_EPILOG = """examples:
  gateway check --config gateway.yaml
  GATEWAY_PORT=9000 gateway check --config gateway.yaml

No provider is called and no port is opened. Keys are never printed.
"""

_DEMO = "Start a gateway with a provider of its own, and print commands to try that it remembers. Ctrl-C stops it."

_DEMO_EPILOG = """examples:
  gateway demo
  gateway demo --port 9000
  gateway demo --directory ./sessions            conversations that are still there the next time
"""


_COMPLETION = "Print a script that teaches your shell the commands, their options and the values that they take."

_COMPLETION_EPILOG = """once, for this shell:
  source <(gateway completion bash)
for every shell from now on:
  gateway completion bash > ~/.local/share/bash-completion/completions/gateway
  gateway completion zsh  > "${fpath[1]}/_gateway"
  gateway completion fish > ~/.config/fish/completions/gateway.fish
"""

SHELLS = ("bash", "zsh", "fish")


def parser() -> ArgumentParser:
    """The parser; `command` is the subcommand's name, None if there was none."""
    whole = ArgumentParser(
        prog="gateway",
        description="An LLM gateway that remembers conversations.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="<command>", title="commands")
    serve = _command(commands, "serve", "run the gateway", _SERVE, _SERVE_EPILOG)
    _config(serve)
    serve.add_argument("--host", help="address to listen on (server.host)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 for a free one (server.port)")
    serve.add_argument("--workers", type=int, help="number of processes (server.workers)")
    _config(_command(commands, "check", "explain a configuration", _CHECK, _CHECK_EPILOG))
    demo = _command(commands, "demo", "see it remember, without any account", _DEMO, _DEMO_EPILOG)
    demo.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for a free one (default: 8080)")
    demo.add_argument(
        "--directory", metavar="DIR", help="where sessions are kept (default: a temporary one, removed at the end)"
    )
    operator.add(commands)
    completion = _command(commands, "completion", "teach your shell the commands", _COMPLETION, _COMPLETION_EPILOG)
    completion.add_argument("shell", choices=SHELLS, help="which one")
    return whole


def _command(
    commands: "_SubParsersAction[ArgumentParser]", name: str, short: str, description: str, epilog: str
) -> ArgumentParser:
    return commands.add_parser(
        name, help=short, description=description, epilog=epilog, formatter_class=RawDescriptionHelpFormatter
    )


def _config(command: ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", help="the YAML file (default: GATEWAY_CONFIG, else no file)")
