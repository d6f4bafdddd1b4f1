"""`gateway sessions`, `gateway keys`, `gateway providers`, `gateway stats`: what operators do."""

import asyncio
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from gateway.commands import sessions
from gateway.commands.desk import Desk, desk
from gateway.commands.load import WrongArguments
from gateway.commands.operator import LIMITS
from gateway.commands.tables import listed, say, say_json, say_table, told

_SHARES = ("requests", "errors", "input_tokens", "output_tokens")


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Run one command; returns the exit code. Raises CommandFailed, ConfigError."""
    asyncio.run(_run(arguments, environ))
    return 0


async def _run(arguments: Namespace, environ: Mapping[str, str]) -> None:
    if arguments.command == "sessions":
        await sessions.run(arguments, environ)
        return
    if arguments.command == "providers" and arguments.change and not arguments.provider:
        raise WrongArguments(f"Which provider? Say `gateway providers {arguments.change} NAME`.")
    async with desk(arguments, environ) as at:
        match arguments.command:
            case "keys":
                await _keys(at, arguments)
            case "stats":
                await _stats(at, arguments)
            case _:
                await _providers(at, arguments)


async def _keys(at: Desk, arguments: Namespace) -> None:
    match arguments.action:
        case "list":
            keys = (await at.ask("GET", "/keys"))["keys"]
            rows = keys if arguments.json else [_key_row(key) for key in keys]
            listed(arguments, rows, ("id", "owner", "models", "sessions", "limits", "spent", "since", "state"))
        case "create":
            limits = {name: value for name in LIMITS if (value := getattr(arguments, name)) is not None}
            body = {"id": arguments.id, "owner": arguments.owner or "", "sessions": arguments.mode, "limits": limits}
            if arguments.model:
                body["models"] = arguments.model
            made = await at.ask("POST", "/keys", json=body)
            told(arguments, made, made["key"])
        case _:
            done = await at.ask("DELETE", f"/keys/{arguments.id}")
            told(arguments, done, f"{arguments.id} is revoked.")


def _key_row(key: dict[str, Any]) -> dict[str, Any]:
    spent = key.get("spent") or {}
    return {
        **key,
        "models": ",".join(key["models"]),
        "limits": " ".join(f"{name}={value:.12g}" for name, value in key["limits"].items()),
        "spent": " ".join(f"{when}={value:.2f}" for when, value in spent.items()),
        "since": key["created_at"] or "configuration",
        "state": f"revoked {key['revoked_at']}" if key["revoked_at"] else "valid",
    }


async def _providers(at: Desk, arguments: Namespace) -> None:
    if arguments.change:
        done = await at.ask("POST", f"/providers/{arguments.provider}/{arguments.change}")
        told(arguments, done, f"{done['name']}: {done['state']}")
        return
    providers = (await at.ask("GET", "/providers"))["providers"]
    rows = providers if arguments.json else [{**provider, **_latency(provider["latency"])} for provider in providers]
    listed(arguments, rows, ("name", "kind", "state", "in_flight", "attempts", "errors", "p50", "p95"))


def _latency(latency: dict[str, Any]) -> dict[str, str | None]:
    return {name: None if latency[name] is None else f"{latency[name]:.3f} s" for name in ("p50", "p95")}


async def _stats(at: Desk, arguments: Namespace) -> None:
    stats = await at.ask("GET", "/stats")
    if arguments.json:
        say_json(stats)
        return
    traffic, active = stats["traffic"], stats["sessions"]["active"]
    say(f"about {'?' if active is None else active} sessions ({stats['sessions']['store']}), {_sums(traffic['total'])}")
    for name in ("models", "providers"):
        rows = [[row, *(sums[share] for share in _SHARES), _cost(sums)] for row, sums in traffic[name].items()]
        if rows:
            say("")
            say_table([name[:-1].upper(), *(share.upper() for share in _SHARES), "COST"], rows)
    if traffic["owners"]:
        say("")
        say_table(["OWNER", "COST"], [[owner, _cost(spent)] for owner, spent in traffic["owners"].items()])


def _sums(total: dict[str, Any]) -> str:
    return f"{total['requests']} requests, {total['errors']} failed, cost {_cost(total)}"


def _cost(sums: dict[str, Any]) -> str:
    """Dollars; what has no price is unknown, and never zero."""
    known = None if sums["cost"] is None else f"${sums['cost']:.4f}"
    unknown = f"{sums['unpriced']} of unknown price" if sums["unpriced"] else None
    return " + ".join(part for part in (known, unknown) if part) or "-"
