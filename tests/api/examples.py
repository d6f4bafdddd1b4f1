"""Writes the examples of the management API's document: `python -m tests.api.examples`.

A fixed conversation with a gateway. What differs from run to run (times, durations, keys) is put in its place here, so
that a test can hold what is written against what a gateway answers.
"""

import asyncio
import json
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import gateway.api
from tests.api.conftest import CONFIG, Operator, operating

FILE = Path(gateway.api.__file__).with_name("examples.json")

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_AT = "2027-01-20T08:00:00.000Z"
_PLACED = {
    "expires_at": "2027-01-21T08:00:00.000Z",
    "store": "redis",
    "next": "1800432000000-Q2xhc3NpY1N0YXRpb25hcn",
    "key": "gw-5JqWkHc0vVxk1sFzqv0b3m9n2Q8yTtUuIiOoPpAaSdD",
}
_DURATIONS = {"elapsed_ms": 840, "mean": 0.84, "p50": 0.71, "p95": 1.62, "seconds": 4.2}
_BEFORE = (
    ("trip-to-oslo", "gpt", "My name is Ada."),
    ("trip-to-oslo", "gpt", "What is my name?"),
    ("tour", "opus", "Hi."),
)


class Step(NamedTuple):
    """One request of the conversation, and the route that it is an example of."""

    route: str
    path: str
    query: dict[str, Any] | None = None
    body: Any = None

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]


TALK = [{"role": "user", "content": "Which plan has SSO?"}, {"role": "assistant", "content": "Team and Business."}]
STEPS = [
    Step("GET /sessions", "/sessions", {"owner": "open", "limit": 1}),
    Step("POST /sessions", "/sessions", None, {"owner": "team-a", "id": "faq-17", "messages": TALK, "ttl": 604800}),
    Step("GET /sessions/{id}", "/sessions/faq-17", {"owner": "team-a"}),
    Step(
        "PATCH /sessions/{id}", "/sessions/faq-17", {"owner": "team-a"},
        {"pin": "claude", "ttl": 2592000, "user_context": {"ticket": "A-118"}},
    ),
    Step("POST /sessions/{id}/fork", "/sessions/trip-to-oslo/fork", None, {"at": 1, "id": "trip-to-bergen"}),
    Step("DELETE /sessions/{id}/turns", "/sessions/trip-to-oslo/turns", {"last": 1}),
    Step("GET /sessions/export", "/sessions/export", {"owner": "team-a"}),
    Step("DELETE /sessions", "/sessions", {"owner": "team-a", "dry_run": True}),
    Step("DELETE /sessions/{id}", "/sessions/faq-17", {"owner": "team-a"}),
    Step("POST /sessions/import", "/sessions/import", {"existing": "skip"}, ...),
    Step("POST /sessions/cleanup", "/sessions/cleanup"),
    Step("GET /providers", "/providers"),
    Step("POST /providers/{name}/disable", "/providers/claude/disable"),
    Step("POST /providers/{name}/enable", "/providers/claude/enable"),
    Step("POST /providers/{name}/reset", "/providers/claude/reset"),
    Step("GET /models", "/models"),
    Step("GET /stats", "/stats"),
    Step(
        "POST /keys", "/keys", {},
        {"id": "team-b-ci", "owner": "team-b", "models": ["gpt"], "limits": {"requests_per_minute": 60}},
    ),
    Step("GET /keys", "/keys"),
    Step("DELETE /keys/{id}", "/keys/team-b-ci"),
]  # fmt: skip


async def recorded(operator: Operator) -> dict[str, Any]:
    """The conversation: by route, what was asked and what was answered."""
    for session, model, text in _BEFORE:
        await operator.chat(session, text, model=model)
        await asyncio.sleep(0.002)  # the last uses are listed by the millisecond
    found: dict[str, Any] = {}
    exported = ""
    for step in STEPS:
        given: dict[str, Any] = {"params": step.query}
        if step.body is ...:
            given["content"] = exported
        elif step.body is not None:
            given["json"] = step.body
        reply = await operator.send(step.method, step.path, **given)
        assert reply.is_success, f"{step.route}: {reply.text}"
        lines = "ndjson" in reply.headers["content-type"]
        exported = reply.text if lines else exported
        answer = reply.text if lines else reply.json()
        body = exported if step.body is ... else step.body
        found[step.route] = {
            "path": dict(zip(re.findall(r"{(\w+)}", step.route), step.path.split("/")[2:3], strict=False)),
            "query": step.query or {},
            "request": _settled(_settled_line(body) if step.body is ... else body),
            "response": _settled(_settled_line(answer) if lines else answer),
        }
    return found


def _settled_line(line: str) -> str:
    """A line of an export with its milliseconds in place."""
    return re.sub(r'"(created|updated|expires|at|kept)": ?\d{13}', r'"\1":1800432000000', line)


def _settled(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _settled(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_settled(inner) for inner in value]
    if isinstance(value, str):
        return _PLACED.get(name) or _TIME.sub(_AT, value)
    return _DURATIONS[name] if name in _DURATIONS and value is not None else value


async def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with operating(f"{CONFIG}\nsessions:\n  file: {{directory: {folder}/sessions}}\n") as operator:
            FILE.write_text(json.dumps(await recorded(operator), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    asyncio.run(_write())
