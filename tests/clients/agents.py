# ruff: noqa: T201 - a program that people run, and read
"""Coding agents from npm do a task with a tool call through a gateway, on a provider of another dialect.

    python -m tests.clients.agents FOLDER       (a folder in which `npm install` has put the agents and `node@22`)

The provider is scripted: it asks for a shell command, and says it is done once it sees what the command printed. It has
eight credentials, and a task must stay on one of them, whatever the agent says of its session.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.sdks import CONFIG
from tests.processes import Running, provider, running
from tests.scripted import Say, Scripted, Seen

PROOF = "proof-4711"
COMMAND = f"printf {PROOF[:6]}; printf {PROOF[6:]}"
TASK = "Run the command and tell me when it is done."


@dataclass
class Agent:
    """How one agent is pointed at a gateway: its command line, its environment, and the files it wants."""

    name: str
    model: str
    arguments: Callable[[str], list[str]]
    environment: Callable[[str], dict[str, str]]
    files: Callable[[str], dict[str, str]]


AGENTS = (
    Agent(
        "claude", "m-chat",
        lambda model: ["-p", TASK, "--model", model, "--dangerously-skip-permissions"],
        lambda url: {
            "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "x", "IS_SANDBOX": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "ANTHROPIC_SMALL_FAST_MODEL": "m-chat",
        },
        lambda _: {},
    ),
    Agent(
        "codex", "m-claude",
        lambda model: [
            "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", model, TASK,
        ],
        lambda _: {"GATEWAY_KEY": "x"},
        lambda url: {
            ".codex/config.toml": 'model_provider = "gw"\n[model_providers.gw]\nname = "gw"\n'
            f'base_url = "{url}/v1"\nenv_key = "GATEWAY_KEY"\nwire_api = "responses"\n',
        },
    ),
    Agent(
        "gemini", "m-claude",
        lambda model: ["--yolo", "--skip-trust", "-m", model, "-p", TASK],
        lambda url: {"GEMINI_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": url},
        lambda _: {
            ".gemini/settings.json": json.dumps({"security": {"auth": {"selectedType": "gemini-api-key"}}}),
        },
    ),
    Agent(
        "qwen", "m-claude",
        lambda _: ["--auth-type", "openai", "--yolo", "-p", TASK],
        lambda url: {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_MODEL": "m-claude"},
        lambda _: {},
    ),
)  # fmt: skip


def script(seen: Seen) -> Say:
    """A shell command for the agent's own tool for it, then the end."""
    text = json.dumps({name: seen.body.get(name) for name in ("messages", "input", "contents")})
    if PROOF in text:
        return Say("DONE: the command has run.")
    tools = {name: schema for tool in seen.body.get("tools") or () for name, schema in declared(tool)}
    for name in ("Bash", "exec_command", "shell_command", "shell", "run_shell_command"):
        if name in tools and TASK in text:
            return Say(calls=(("call_1", name, json.dumps(arguments(tools[name]))),))
    return Say("ok")


def declared(tool: Any) -> list[tuple[str, Any]]:
    """The functions in a tool of any dialect."""
    if "functionDeclarations" in tool:
        return [(one["name"], one.get("parametersJsonSchema") or {}) for one in tool["functionDeclarations"]]
    inner = tool.get("function", tool)
    return [(inner.get("name", ""), inner.get("parameters") or inner.get("input_schema") or {})]


def arguments(schema: Any) -> dict[str, Any]:
    """The command where this tool wants it."""
    members = schema.get("properties", {})
    found: dict[str, Any] = {}
    for name, about in members.items():
        if name in ("command", "cmd"):
            found[name] = ["sh", "-c", COMMAND] if about.get("type") == "array" else COMMAND
        elif name in schema.get("required", ()):
            found[name] = "run it" if about.get("type") == "string" else False
    return found


def run(agent: Agent, folder: Path, gateway: Running, scripted: Scripted) -> bool:
    """Whether the agent came to the end of its task."""
    scripted.seen.clear()
    binaries = folder / "node_modules" / ".bin"
    with tempfile.TemporaryDirectory() as home:
        for name, text in agent.files(gateway.url).items():
            path = Path(home, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        path = f"{binaries}:{os.environ['PATH']}"
        environment = {"HOME": home, "PATH": path, "TERM": "dumb", **agent.environment(gateway.url)}
        done = subprocess.run(
            [binaries / agent.name, *agent.arguments(agent.model)],
            cwd=home, env=environment, capture_output=True, text=True, timeout=180, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    proved = any(PROOF in seen.raw.decode() for seen in scripted.seen)
    seats = {seen.headers.get("x-api-key") or seen.headers["authorization"] for seen in scripted.seen}
    good = proved and "DONE" in done.stdout and len(seats) == 1
    asked = f"{len(scripted.seen)} requests at {agent.model} with {len(seats)} of 8 credentials"
    print(f"{agent.name}: {'done' if good else 'FAILED'}, {asked}")
    if not good:
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
        print(*[json.dumps(line)[:600] for line in gateway.lines()[-5:]], sep="\n")
    return good


def main(folder: Path) -> int:
    """Run each agent that is installed; 0 if all came to their end, and there were two at least."""
    with ExitStack() as stack:
        scripted, url = stack.enter_context(provider(script))
        sessions = stack.enter_context(tempfile.TemporaryDirectory())
        more = "".join(
            f'  "{name}*": {{targets: [{{provider: {where}, model: {model}}}]}}\n'
            for name, where, model in (("claude-", "chat", "gpt-5.1"), ("gemini-", "claude", "claude-sonnet-4-5"))
        )
        config = CONFIG.format(folder=sessions, url=url).replace("keys: [k]", f"keys: {[f'k{n}' for n in range(8)]}")
        gateway = stack.enter_context(running(config + more))
        installed = [agent for agent in AGENTS if (folder / "node_modules" / ".bin" / agent.name).exists()]
        good = [run(agent, folder, gateway, scripted) for agent in installed]
    return 0 if all(good) and len(good) > 1 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
