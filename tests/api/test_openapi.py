"""The OpenAPI document is true: what it allows is answered as it says, by a gateway that runs."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from html import unescape
from uuid import uuid4

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import Operator
from tests.api.examples import FILE, recorded
from tests.processes import running

KEY = "the-key-of-the-operator"
CONFIG = """
server: {{port: PORT}}
management: {{key: {key}}}
sessions: {sessions}
providers:
  chat: {{kind: openai, base_url: "http://127.0.0.1:9/v1", keys: [k]}}
models:
  gpt: {{targets: [{{provider: chat, model: up-chat}}]}}
"""
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module", params=["file", "redis"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway that runs, with a session in its store."""
    sessions = f'{{file: {{directory: "{tmp_path_factory.mktemp("store") / "sessions"}"}}}}'
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        sessions = f"{{store: redis, redis: {{url: '{url}', prefix: '{uuid4().hex}:', timeout: 10s}}}}"
    with running(CONFIG.format(key=KEY, sessions=sessions)) as gateway:
        made = httpx.post(
            f"{gateway.url}/v0/management/sessions",
            json={"owner": "acme", "id": "0", "messages": TALK},
            headers={"X-Management-Key": KEY},
            timeout=60,
        )
        assert made.status_code == 201
        yield gateway.url


@pytest.fixture(scope="module")
def schema(served: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{served}/v0/management/openapi.json", wait_for_schema=30)


TALK = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
OPERATIONS = 22
BOUNDED = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def test_every_route_answers_as_the_document_says(schema: schemathesis.BaseSchema):
    wrong: list[str] = []
    answered: Counter[tuple[str, bool]] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()

        @BOUNDED
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            reply = case.call_and_validate(headers={"X-Management-Key": KEY}, checks=CHECKS, timeout=60)
            answered[case.operation.label, reply.status_code < 300] += 1

        try:
            check()
        except BaseExceptionGroup as several:
            wrong.append(f"{operation.label}: {several.exceptions}")
        except AssertionError as failed:
            wrong.append(f"{operation.label}: {failed}")
    assert len({label for label, _ in answered}) == OPERATIONS
    assert sum(1 for _, good in answered if good) > OPERATIONS / 2
    assert not wrong, "\n".join(wrong)


WITHOUT = {"GET /config", "POST /reload"}
"""A long answer, and one that needs a file."""


async def test_its_examples_are_what_a_gateway_answers(gateway: Operator):
    told = json.loads(json.dumps(await recorded(gateway)))
    written = json.loads(FILE.read_text())
    assert told == written, "say `python -m tests.api.examples` and read the difference"


async def test_every_route_has_an_example_that_its_schema_allows(gateway: Operator):
    document = (await gateway.send("GET", "/openapi.json")).json()
    bare = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path.removeprefix('/v0/management')}"
            said = [operation.get("requestBody", {}), *operation["responses"].values()]
            found = [media for body in said for media in body.get("content", {}).values() if "example" in media]
            bare |= set() if found else {route}
            for media in found:
                schema = {**media["schema"], "components": document["components"]}
                jsonschema.validate(media["example"], schema)
    assert bare == WITHOUT


def test_the_page_shows_commands_that_work_as_printed(served: str):
    page = httpx.get(f"{served}/v0/management/docs", timeout=60).text
    commands = [unescape(found) for found in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)]
    assert len(commands) == OPERATIONS - len(WITHOUT)
    headers = {"X-Management-Key": KEY}  # the session that one of them makes may be there from another test
    httpx.delete(f"{served}/v0/management/sessions/faq-17", params={"owner": "team-a"}, headers=headers, timeout=60)
    anywhere = [
        command for command in commands if re.search(r'-X GET "\S+/(?:sessions\?|\w+")|-X POST \S+/sessions"', command)
    ]
    assert len(anywhere) == 6
    for command in anywhere:
        environ = {**os.environ, "GATEWAY_URL": served, "GATEWAY_MANAGEMENT_KEY": KEY}
        asked = ["sh", "-c", command.replace("curl ", "curl -sS --fail-with-body ", 1)]
        json.loads(subprocess.check_output(asked, env=environ, timeout=60))
