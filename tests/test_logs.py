"""Log lines are JSON and hold no secrets."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gateway import logs
from gateway.config import Config, RedisSessions, Sessions, parse

CONFIG = """
auth: {keys: [{id: a, key: client-key-1}]}
management: {key: management-key-1}
sessions: {redis: {url: "redis://:redis-password-1@h/0"}}
providers:
  one: {kind: openai, base_url: https://h/v1, keys: [provider-key-1, {key: provider-key-2}],
        headers: {api-key: header-secret-1}, query: {code: query-secret-1}, proxy: "http://u:proxy-password-1@p"}
"""
SECRETS = {
    "client-key-1", "management-key-1", "redis-password-1", "provider-key-1", "provider-key-2", "header-secret-1",
    "query-secret-1", "proxy-password-1",
}  # fmt: skip


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("gateway")
    before = root.handlers[:], root.level, ours.level
    written = io.StringIO()
    logs.configure(logs.secrets_in(parse(CONFIG, {})), stream=written)
    yield written
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(message: str) -> None:
    error = ValueError(message)
    logging.getLogger("gateway.x").error("failed", exc_info=(ValueError, error, None))


def test_a_line_is_one_json_object_with_what_was_given_as_extra(stream: io.StringIO):
    logging.getLogger("gateway.x").info("two\nlines of %s", "text", extra={"owner": "a", "n": 1})
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "gateway.x", "message": "two\nlines of text", "owner": "a", "n": 1}


def test_an_exception_is_part_of_its_line(stream: io.StringIO):
    fail("oh")
    (line,) = lines(stream)
    assert line["exception"].endswith("ValueError: oh")


def test_libraries_are_heard_from_warnings_on(stream: io.StringIO):
    logging.getLogger("somelibrary").info("chatter")
    logging.getLogger("somelibrary").warning("trouble")
    assert [line["message"] for line in lines(stream)] == ["trouble"]


def test_every_secret_of_the_configuration_is_known():
    assert set(logs.secrets_in(parse(CONFIG, {}))) >= SECRETS


def test_the_password_of_the_sentinels_is_a_secret_too():
    sessions = Sessions(redis=RedisSessions(sentinel_password="sentinel-password-1"))
    assert "sentinel-password-1" in logs.secrets_in(Config(sessions=sessions))


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_no_secret_of_the_configuration_is_written_wherever_it_stands(stream: io.StringIO, secret: str):
    log = logging.getLogger("gateway.x")
    log.error("refused: %s", secret, extra={"header": {"x": [secret]}})
    fail(secret)
    assert secret not in stream.getvalue()
    assert len(lines(stream)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "redis://:hidden@h/0",
        "http://user:hidden@proxy:1",
        "Authorization: Bearer hidden",
        "https://h/v1?x=1&key=hidden",
    ],
)
def test_credentials_that_are_not_in_the_configuration_are_recognised_by_their_place(stream: io.StringIO, text: str):
    logging.getLogger("gateway.x").error(text)
    assert "hidden" not in stream.getvalue()
    assert "***" in lines(stream)[0]["message"]


def test_a_short_placeholder_is_no_secret():
    record = logging.makeLogRecord({"msg": "the demo began"})
    assert "the demo began" in logs.JsonFormatter({"demo"}).format(record)


def test_what_json_does_not_know_is_written_as_text():
    record = logging.makeLogRecord({"msg": "x", "thing": sys.stdout})
    assert json.loads(logs.JsonFormatter().format(record))["thing"].startswith("<")
