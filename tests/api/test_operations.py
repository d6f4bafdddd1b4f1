"""Providers, keys, figures and who may look at them, over HTTP, in either store."""

import asyncio
import json

import pytest

from gateway.config import ConfigError, Prices, parse
from gateway.conversation import Usage
from gateway.routing.prices import cost_of
from tests.api.conftest import CONFIG, KEY, Opened, Operator

WRONG = {"Authorization": "Bearer wrong"}


async def eventually(operator: Operator, status: int, **headers: str) -> None:
    """A worker hears of it within a second; a busy machine gets more."""
    async with asyncio.timeout(15):
        while True:
            body = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}
            reply = await operator.client.post("/v1/chat/completions", json=body, headers=headers)
            if reply.status_code == status:
                return
            await asyncio.sleep(0.05)


# ---------------------------------------------------------------- providers


async def test_providers_show_state_figures_and_no_secrets(gateway: Operator):
    await gateway.chat("s", "hello")
    listed = await gateway.ask("GET", "/providers")
    chat, claude = listed["providers"]
    assert (chat["name"], chat["kind"], chat["state"], chat["models"]) == ("chat", "openai", "ready", ["any/*", "gpt"])
    assert (chat["attempts"], chat["errors"], chat["outcomes"]) == (1, 0, {"served": 1})
    assert chat["latency"]["count"] == 1
    assert chat["latency"]["p50"] <= chat["latency"]["p95"]
    assert [credential["id"] for credential in claude["credentials"]] == ["one", "two"]
    assert "secret" not in json.dumps(listed)


async def test_a_disabled_provider_gets_no_requests_from_any_worker(opened: Opened):
    async with opened() as one, opened() as two:
        assert (await one.ask("POST", "/providers/chat/disable"))["state"] == "disabled"
        error = (await one.chat("s", "hello", 503)).json()["error"]
        assert error["code"] == "provider_disabled"
        await eventually(two, 503)
        assert (await two.ask("GET", "/providers"))["providers"][0]["state"] == "disabled"
        await two.ask("POST", "/providers/chat/enable")
        await eventually(one, 200)
        await one.ask("POST", "/providers/nobody/disable", 404)


async def test_a_cool_down_is_shown_and_reset(opened: Opened):
    async with opened() as gateway:
        gateway.switchboard.down.add("chat")
        await gateway.chat("s", "hello", 502)
        chat = (await gateway.ask("GET", "/providers"))["providers"][0]
        (cooling,) = chat["credentials"][0]["cool_downs"]
        assert (cooling["model"], cooling["level"], cooling["seconds"] > 0) == ("up-chat", 0, True)
        assert chat["state"] == "degraded"
        assert chat["errors"] == 1
        gateway.switchboard.down.clear()
        await gateway.chat("s", "hello", 503)
        assert (await gateway.ask("POST", "/providers/chat/reset"))["credentials"][0]["cool_downs"] == []
        await gateway.chat("s", "hello")


async def test_models_and_configuration_are_shown_without_secrets(gateway: Operator):
    models = {model["name"]: model for model in (await gateway.ask("GET", "/models"))["models"]}
    assert set(models) == {"gpt", "opus", "any/*"}
    assert [target["credential"] for target in models["opus"]["targets"]] == ["one", "two"]
    config = (await gateway.ask("GET", "/config"))["config"]
    credential = config["providers"]["claude"]["keys"][0]
    assert (credential["key"], credential["id"]) == ("***", "one")
    assert config["management"]["key"] == "***"
    assert not any(secret in json.dumps(config) for secret in ("k-secret", KEY))


async def test_figures_count_requests_tokens_and_what_they_cost(gateway: Operator):
    await gateway.chat("a", "hello")
    await gateway.chat("b", "hello", model="opus")
    stats = await gateway.ask("GET", "/stats")
    traffic = stats["traffic"]
    assert (stats["sessions"]["active"], traffic["total"]["requests"], traffic["total"]["errors"]) == (2, 2, 0)
    gpt, opus = traffic["models"]["gpt"], traffic["models"]["opus"]
    assert gpt["cost"] == pytest.approx((gpt["input_tokens"] * 2 + gpt["output_tokens"] * 8) / 1e6)
    assert gpt["cost"] > 0
    assert (opus["cost"], opus["unpriced"], gpt["unpriced"]) == (None, 1, 0)
    assert set(traffic["providers"]) == {"chat", "claude"}
    assert traffic["owners"] == {"open": {"cost": pytest.approx(gpt["cost"]), "unpriced": 1}}
    paid, unknown = [(await gateway.ask("GET", f"/sessions/{id}"))["metadata"] for id in ("a", "b")]
    assert paid["cost"] == pytest.approx(gpt["cost"])
    assert (unknown["cost"], unknown["unpriced_turns"]) == (None, 1)


# ---------------------------------------------------------------- keys


async def test_a_key_is_shown_once_opens_every_worker_and_is_revoked_in_all(opened: Opened):
    async with opened() as one, opened() as two:
        await one.chat("s", "without keys all of this machine may ask")
        made = await one.ask("POST", "/keys", 201, json={"id": "team-a", "owner": "team", "models": ["gpt"]})
        assert made["key"].startswith("gw-")
        await eventually(two, 200, Authorization=f"Bearer {made['key']}")
        await eventually(two, 401)
        listed = (await two.ask("GET", "/keys"))["keys"]
        assert [(key["id"], key["owner"], key["source"], key["revoked_at"]) for key in listed] == [
            ("team-a", "team", "management", None)
        ]
        assert made["key"] not in json.dumps(listed)
        await one.chat("s", "hello", 404, model="opus", Authorization=f"Bearer {made['key']}")
        await one.ask("POST", "/keys", 409, json={"id": "team-a"})
        assert (await two.ask("DELETE", "/keys/team-a")) == {"status": "revoked"}
        await eventually(two, 401, Authorization=f"Bearer {made['key']}")
        await eventually(one, 401, Authorization=f"Bearer {made['key']}")
        assert (await one.ask("GET", "/keys"))["keys"][0]["revoked_at"] is not None
        await one.ask("DELETE", "/keys/nobody", 404)


async def test_a_key_has_an_owner_a_mode_and_limits(gateway: Operator):
    body = {"id": "k", "owner": "them", "sessions": "off", "limits": {"requests_per_minute": 5}}
    made = await gateway.ask("POST", "/keys", 201, json=body)
    assert (made["sessions"], made["limits"]) == ("off", {"requests_per_minute": 5})
    for wrong in ({"id": "x y"}, {"id": "k2", "limits": {"wishes": 3}}, {"id": "k2", "sessions": "some"}):
        await gateway.ask("POST", "/keys", 400, json=wrong)


async def test_a_key_is_made_with_a_budget_and_shows_what_every_worker_spent(opened: Opened):
    config = CONFIG.replace("input: 2, cached: 0.5, output: 8", "input: 1000, output: 2000")
    async with opened(config) as one, opened(config) as two:
        body = {"id": "k", "limits": {"dollars_per_day": 0.03, "dollars_per_month": 2}}
        made = await one.ask("POST", "/keys", 201, json=body)
        assert made["limits"] == body["limits"]
        client = {"Authorization": f"Bearer {made['key']}"}
        await eventually(two, 200, **client)  # a reply costs 0.02
        await one.chat("s", "hello", **client)
        await eventually(one, 429, **client)
        await eventually(two, 429, **client)
        (key,) = (await one.ask("GET", "/keys"))["keys"]
        assert key["spent"] == {"day": pytest.approx(0.04), "month": pytest.approx(0.04)}


async def test_the_sessions_of_a_made_key_are_its_owners(gateway: Operator):
    key = (await gateway.ask("POST", "/keys", 201, json={"id": "k", "owner": "them"}))["key"]
    await gateway.chat("s", "hello", Authorization=f"Bearer {key}")
    assert [session["owner"] for session in (await gateway.ask("GET", "/sessions"))["sessions"]] == ["them"]


async def test_a_key_of_the_configuration_is_revoked_there(opened: Opened):
    config = CONFIG + "auth: {keys: [{id: fixed, key: the-key-of-a-client}]}\n"
    async with opened(config) as gateway:
        assert (await gateway.ask("GET", "/keys"))["keys"][0]["source"] == "configuration"
        assert (await gateway.ask("DELETE", "/keys/fixed", 409))["error"]["code"] == "configured_key"
        await gateway.ask("POST", "/keys", 409, json={"id": "fixed"})


# ---------------------------------------------------------------- lock-out


async def test_five_wrong_keys_lock_an_address_out_of_every_worker(opened: Opened):
    async with opened() as one, opened() as two, opened(address="192.0.2.9") as other:
        for worker in (one, two, one, two, one):
            await worker.ask("GET", "/models", 401, headers=WRONG)
        for worker in (one, two):
            error = (await worker.ask("GET", "/models", 429))["error"]
            assert error["code"] == "locked_out"
        await one.ask("GET", "/models", 429, headers={"X-Forwarded-For": "203.0.113.7"})
        await other.ask("GET", "/models")


async def test_the_right_key_forgives_what_was_mistyped(gateway: Operator):
    for _ in range(3):
        for _ in range(4):
            await gateway.ask("GET", "/models", 401, headers=WRONG)
        await gateway.ask("GET", "/models")


async def test_a_missing_key_is_no_failure(gateway: Operator):
    for _ in range(7):
        await gateway.ask("GET", "/models", 401, headers={"Authorization": ""})
    await gateway.ask("GET", "/models")


async def test_a_trusted_proxy_says_who_asks_and_nobody_else_does(opened: Opened):
    async with opened(address="10.1.2.3") as gateway:
        attacker = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.0.0.9"}
        for number in range(5):
            forged = {"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.7"}
            await gateway.ask("GET", "/models", 401, headers={**WRONG, **forged})
        await gateway.ask("GET", "/models", 429, headers=attacker)
        await gateway.ask("GET", "/models", headers={"X-Forwarded-For": "198.51.100.1"})


async def test_nobody_is_locked_out_behind_an_unknown_proxy(opened: Opened):
    async with opened(address="172.16.0.1") as gateway:
        for number in range(6):
            forged = {"X-Forwarded-For": f"198.51.100.{number}"}
            await gateway.ask("GET", "/models", 401, headers={**WRONG, **forged})
        await gateway.ask("GET", "/models", headers={"X-Forwarded-For": "198.51.100.9"})


async def test_management_may_have_a_port_of_its_own(opened: Opened):
    config = CONFIG.replace("management: {", "management: {port: 8081, ")
    async with opened(config) as gateway:
        for path in ("/models", "/docs", "/openapi.json"):
            await gateway.ask("GET", path, 404)
            url = f"http://127.0.0.1:8081/v0/management{path}"
            reply = await gateway.client.get(url, headers={"Authorization": f"Bearer {KEY}"})
            assert reply.status_code == 200
        assert (await gateway.client.get("/console/")).status_code == 404
        assert (await gateway.client.get("http://127.0.0.1:8081/console/")).status_code == 200
        await gateway.chat("s", "hello")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("port: 0", "management.port: a port is"),
        ("port: 8080", "management.port: leave it out"),
        ("trusted_proxies: [elsewhere]", "management.trusted_proxies[0]: an address or a network"),
    ],
)
def test_mistakes_in_the_section_are_explained(setting: str, said: str):
    with pytest.raises(ConfigError) as caught:
        parse(f"management: {{key: a-long-enough-key, {setting}}}", {})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("prices", "usage", "dollars"),
    [
        (Prices(input=2, output=8), Usage(1_000_000, 500_000), 6.0),
        (Prices(input=2, output=8, cached=0.5), Usage(1_000_000, 0, 400_000), 1.4),
        (Prices(input=2, output=8, cache_write=4), Usage(1_000_000, 0, 0, 500_000), 3.0),
        (Prices(input=2, output=8, reasoning=1), Usage(0, 1_000_000, 0, 0, 500_000), 4.5),
        (Prices(input=0, output=0), Usage(9, 9), 0.0),
        (Prices(input=2, output=8), None, None),
        (None, Usage(9, 9), None),
    ],
)
def test_a_cost_is_that_of_the_parts_and_unknown_without_a_price(
    prices: Prices | None, usage: Usage | None, dollars: float | None
):
    assert cost_of(prices, usage) == (None if dollars is None else pytest.approx(dollars))
