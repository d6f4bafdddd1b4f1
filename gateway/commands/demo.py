"""`gateway demo`: a gateway and a provider of its own, to see a conversation remembered without any account."""

import secrets
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import uvicorn

from gateway import logs
from gateway.app import create_app
from gateway.commands.load import CommandFailed
from gateway.commands.serve import listen, serve, url_of
from gateway.config import Config, Duration, FileSessions, Management, Model, Provider, Server, Sessions, Target, check
from gateway.demo import demo_app

HOST = "127.0.0.1"
_GRACE = Duration(5)
_START = 10.0
_GUIDE = """
The gateway listens on {url} and remembers; its provider is built in and remembers nothing.
Each of these sends two messages, and only the newest one each time. Paste them into another terminal.

1. curl

curl -sS {url}/v1/chat/completions -H 'Content-Type: application/json' -H 'X-Session-ID: with-curl' \\
  -d '{{"model": "demo", "messages": [{{"role": "user", "content": "My name is Ada."}}]}}' -w '\\n'
curl -sS {url}/v1/chat/completions -H 'Content-Type: application/json' -H 'X-Session-ID: with-curl' \\
  -d '{{"model": "demo", "messages": [{{"role": "user", "content": "What is my name?"}}]}}' -w '\\n'

2. The OpenAI SDK (pip install openai)

python3 - <<'END'
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="demo", default_headers={{"X-Session-ID": "with-openai"}})
for text in ("My name is Grace.", "What is my name?"):
    reply = client.chat.completions.create(model="demo", messages=[{{"role": "user", "content": text}}])
    print(reply.choices[0].message.content)
END

3. The Anthropic SDK (pip install anthropic)

python3 - <<'END'
from anthropic import Anthropic
client = Anthropic(base_url="{url}", api_key="demo", default_headers={{"X-Session-ID": "with-anthropic"}})
for text in ("My name is Edsger.", "What is my name?"):
    reply = client.messages.create(model="demo", max_tokens=200, messages=[{{"role": "user", "content": text}}])
    print(reply.content[0].text)
END

What is stored: curl -sS -H 'Authorization: Bearer {key}' {url}/v0/management/sessions
The same to look at: {url}/console (management key {key})
Sessions are in {directory}{life}. Ctrl-C stops the demo.
"""


def run(arguments: Namespace) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code. Raises CommandFailed."""
    given = arguments.directory
    with _directory(given) as directory, provider() as upstream:
        sockets = listen(HOST, arguments.port)
        port = sockets[0].getsockname()[1]
        key = secrets.token_urlsafe(18)
        config = configuration(upstream, Path(directory), port=port, management_key=key)
        logs.configure(logs.secrets_in(config))
        life = "" if given else ", and are removed at the end"
        text = _GUIDE.format(url=url_of(HOST, sockets), key=key, directory=directory, life=life)
        code = serve(partial(create_app, config), config, sockets, partial(_print, text))
    _print("The demo has stopped.")
    return code


def configuration(upstream: str, directory: Path, *, port: int, management_key: str) -> Config:
    """The demo's configuration: the model `demo`, and the same provider once for each wire format."""
    base = {
        "openai": f"{upstream}/v1",
        "openai-responses": f"{upstream}/v1",
        "anthropic": upstream,
        "gemini": upstream,
    }
    providers = {kind: Provider(kind=kind, base_url=url, keys=("demo",)) for kind, url in base.items()}  # type: ignore[arg-type]
    models = {"demo": Model(targets=(Target(provider="openai", model="demo"),))}
    models |= {f"demo-{kind}": Model(targets=(Target(provider=kind, model="demo"),)) for kind in base}
    config = Config(
        server=Server(host=HOST, port=port, shutdown_grace=_GRACE),
        management=Management(key=management_key),
        sessions=Sessions(file=FileSessions(directory=str(directory))),
        providers=providers,
        models=models,
    )
    check(config)
    return config


@contextmanager
def provider() -> Iterator[str]:
    """The demo provider on a free port, in a thread of its own; gives its URL."""
    sockets = listen(HOST, 0)
    settings = uvicorn.Config(demo_app(), lifespan="off", ws="none", access_log=False, log_config=None)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        yield url_of(HOST, sockets)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(_START)


def _directory(given: str | None) -> tempfile.TemporaryDirectory[str] | nullcontext[str]:
    if given is None:
        return tempfile.TemporaryDirectory(prefix="gateway-demo-")
    directory = Path(given).expanduser()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise CommandFailed(f"{directory}: {exc.strerror or exc}.") from None
    return nullcontext(str(directory))


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
