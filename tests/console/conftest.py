"""A gateway process with the demo provider, and a real browser in front of it."""

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from gateway.commands.demo import provider
from tests.processes import Running, running
from tests.servers import free_port

KEY = "the-operator's-key"
PATIENCE = 20_000
"""Milliseconds: for a busy machine, not for the console."""

CONFIG = """
server: {host: 127.0.0.1, port: PORT}
auth:
  keys:
    - {id: a, key: key-a, owner: team-atlas}
    - {id: b, key: key-b, owner: support-bot}
    - {id: c, key: key-bulk, owner: bulk}
management: {key: "KEY"}
sessions: {file: {directory: "DIRECTORY"}}
providers:
  openai: {kind: openai, base_url: "UPSTREAM/v1", keys: [demo]}
  anthropic: {kind: anthropic, base_url: "UPSTREAM", keys: [demo]}
  gone: {kind: openai, base_url: "http://127.0.0.1:NOBODY/v1", keys: [demo]}
models:
  gpt: {targets: [{provider: openai, model: demo}]}
  opus: {targets: [{provider: anthropic, model: demo}]}
  flaky: {targets: [{provider: gone, model: demo}, {provider: openai, model: demo, priority: 1}]}
"""

WATCH = """
window.violations = [];
const blocked = event => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
document.addEventListener("securitypolicyviolation", blocked);
"""

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class Seeded:
    """The gateway, and a client of it."""

    running: Running

    @property
    def console(self) -> str:
        return f"{self.running.url}/console/"

    def ask(self, session: str, content: Any, *, key: str = "key-a", model: str = "gpt", **more: Any) -> Any:
        """One turn of a session; `headers` are further ones, everything else goes into the body."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "X-Session-ID": session}
        headers |= more.pop("headers", {})
        messages = more.pop("messages", None) or [{"role": "user", "content": content}]
        body = json.dumps({"model": model, "messages": messages, **more}).encode()
        url = f"{self.running.url}/v1/chat/completions"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
            return json.load(answer)

    def manage(self, path: str, body: Any = None) -> tuple[int, Any]:
        """The answer to a GET, or with a body to a POST."""
        if body is None:
            return self.running.get(f"/v0/management{path}", Authorization=f"Bearer {KEY}")
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        url = f"{self.running.url}/v0/management{path}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return answer.status, json.load(answer)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    with provider() as upstream:
        config = CONFIG.replace("KEY", KEY).replace("UPSTREAM", upstream).replace("NOBODY", str(free_port()))
        config = config.replace("DIRECTORY", str(tmp_path_factory.mktemp("sessions")))
        with running(config) as process:
            yield Seeded(process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For modules of plain functions only: while it is there, an event loop of its own runs in this thread."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing")
        pytest.skip("the console's tests drive Chromium, which is not installed here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, gateway: Seeded) -> Iterator[Visit]:
    """Opens the console, signed in: `visit("#/providers", width=360)`. At the end nothing must have been blocked."""
    contexts: list[BrowserContext] = []
    pages: list[Page] = []
    errors: list[str] = []

    def opened(where: str = "", *, width: int = 1200, height: int = 800, signed_in: bool = True) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        context.add_init_script(WATCH)
        contexts.append(context)
        page = context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.goto(gateway.console + where)
        if signed_in:
            sign_in(page)
        return page

    yield opened
    for page in pages:
        assert page.evaluate("window.violations") == []
    assert errors == []
    for context in contexts:
        context.close()


def sign_in(page: Page, key: str = KEY) -> None:
    page.get_by_label("Management key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("navigation", name="Pages").wait_for()
