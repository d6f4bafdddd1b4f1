"""What the console's routes serve, and with which headers."""

import re
import urllib.request

import pytest

from gateway.console.routes import assets
from tests.console.conftest import Seeded


def test_the_page_allows_nothing_from_elsewhere_and_nothing_inline(gateway: Seeded):
    with urllib.request.urlopen(gateway.console) as answer:
        page, headers = answer.read().decode(), answer.headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)|//", page.replace("<!doctype html>", ""))
    status, _ = gateway.running.get("/console/..%2froutes.py")
    assert status == 404


@pytest.mark.parametrize("name", sorted(assets()))
def test_every_file_is_served_with_its_type_and_is_cheap_to_ask_for_again(gateway: Seeded, name: str):
    with urllib.request.urlopen(gateway.console + name) as answer:
        assert answer.read() == assets()[name].body
        etag = answer.headers["ETag"]
        kind = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        assert answer.headers["Content-Type"].startswith(kind[name.rpartition(".")[2]])
    status, body = gateway.running.get(f"/console/{name}", **{"If-None-Match": etag})
    assert (status, body) == (304, "")


async def test_without_a_management_key_there_is_no_console(start):
    async with start() as gw:
        for path in ("/console", "/console/", "/console/main.js"):
            assert (await gw.client.get(path)).status_code == 404
