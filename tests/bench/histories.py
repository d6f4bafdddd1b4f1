"""Sessions with a history: one is made by real turns, then copied by export and import."""

import http.client
import json
from urllib.parse import urlencode

from tests.bench.contestants import KEY
from tests.bench.loads import QUESTION, Load

MANAGED = {"authorization": "Bearer sk-management"}
IMPORT = 50
"""Sessions a request."""


def fill(load: Load, port: int) -> None:
    """Make the sessions of a load."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    original = f"{load.name}-original"
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "x-session-id": original}
    for turn in range(load.turns):
        question = {"role": "user", "content": f"{QUESTION}{turn}"}
        body = json.dumps({"model": "mock", "messages": [question]})
        answer(client, "POST", "/v1/chat/completions", body, headers)
    line = answer(client, "GET", f"/v0/management/sessions/export?{urlencode({'id': original})}", None, MANAGED)
    for start in range(0, load.pool, IMPORT):
        numbers = range(start, min(start + IMPORT, load.pool))
        lines = b"".join(line.replace(original.encode(), f"{load.name}-{number}".encode()) for number in numbers)
        answer(client, "POST", "/v0/management/sessions/import?existing=replace", lines, MANAGED)
    client.close()


def answer(
    client: http.client.HTTPConnection, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
) -> bytes:
    client.request(method, path, body, headers)
    response = client.getresponse()
    data = response.read()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{method} {path}: {response.status} {data[:500]!r}")
    return data
