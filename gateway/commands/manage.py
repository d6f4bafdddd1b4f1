"""`gateway sessions`, `gateway keys`, `gateway providers`: what operators do, from the command line."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from gateway.api.selection import wanted_of
from gateway.api.transfer import exported
from gateway.commands.desk import Desk, desk, direct, opened_store
from gateway.commands.load import CommandFailed
from gateway.commands.tables import progress, say, say_json, say_table

_PIECE = 1 << 20
_SHOWN = 100


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Run one command; returns the exit code. Raises CommandFailed, ConfigError."""
    return asyncio.run(_run(arguments, environ))


async def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    name = f"{arguments.command} {getattr(arguments, 'action', None) or 'list'}"
    if name == "sessions export":
        return await _export(arguments, environ)
    async with desk(arguments, environ) as at:
        match name:
            case "sessions list":
                await _list(at, arguments)
            case "sessions show":
                await _show(at, arguments)
            case "sessions import":
                await _import(at, arguments)
            case "sessions delete":
                await _delete(at, arguments)
            case "sessions fork":
                body = {
                    name: value for name in ("at", "id") if (value := getattr(arguments, f"new_{name}")) is not None
                }
                made = await at.ask("POST", f"/sessions/{arguments.id}/fork", json=body, params=_whose(arguments))
                _told(arguments, made, made["id"])
            case "sessions pin":
                pin = None if arguments.provider == "none" else arguments.provider
                path = f"/sessions/{arguments.id}"
                changed = await at.ask("PATCH", path, json={"pin": pin}, params=_whose(arguments))
                _told(
                    arguments, changed, f"{arguments.id}: {changed['metadata']['preferred_provider'] or 'not pinned'}"
                )
            case _:
                await _others(name, at, arguments)
    return 0


async def _others(name: str, at: Desk, arguments: Namespace) -> None:
    match name:
        case "keys list":
            keys = (await at.ask("GET", "/keys"))["keys"]
            columns = ("id", "owner", "sessions", "source", "created_at", "revoked_at")
            _listed(arguments, keys, columns)
        case "keys create":
            body = {"id": arguments.id, "owner": arguments.owner or "", "sessions": arguments.mode}
            if arguments.model:
                body["models"] = arguments.model
            made = await at.ask("POST", "/keys", json=body)
            _told(arguments, made, made["key"])
        case "keys revoke":
            done = await at.ask("DELETE", f"/keys/{arguments.id}")
            _told(arguments, done, f"{arguments.id} is revoked.")
        case _:
            await _providers(at, arguments)


async def _providers(at: Desk, arguments: Namespace) -> None:
    if arguments.change:
        done = await at.ask("POST", f"/providers/{arguments.provider}/{arguments.change}")
        _told(arguments, done, f"{done['name']}: {done['state']}")
        return
    providers = (await at.ask("GET", "/providers"))["providers"]
    rows = [{**provider, **_latency(provider["latency"])} for provider in providers]
    _listed(arguments, rows, ("name", "kind", "state", "in_flight", "attempts", "errors", "p50", "p95"))


def _latency(latency: dict[str, Any]) -> dict[str, str | None]:
    return {name: None if latency[name] is None else f"{latency[name]:.3f} s" for name in ("p50", "p95")}


# ---------------------------------------------------------------- sessions


async def _list(at: Desk, arguments: Namespace) -> None:
    found: list[dict[str, Any]] = []
    cursor = None
    while len(found) < arguments.limit:
        params = {**_filter(arguments), "cursor": cursor, "limit": min(arguments.limit - len(found), 1000)}
        page = await at.ask("GET", "/sessions", params=params)
        found += page["sessions"]
        cursor = page["next"]
        if cursor is None:
            break
    rows = [{**session, **session["metadata"]} for session in found]
    columns = ("id", "owner", "user", "updated_at", "total_turns", "total_tokens", "last_provider", "last_model")
    _listed(arguments, found if arguments.json else rows, columns)


async def _show(at: Desk, arguments: Namespace) -> None:
    params: dict[str, Any] = {**_whose(arguments), "limit": _SHOWN}
    path = f"/sessions/{arguments.id}"
    whole = page = await at.ask("GET", path, params=params)
    while page["next"] is not None:
        page = await at.ask("GET", path, params={**params, "turn": page["next"]})
        whole["messages"] += page["messages"]
    whole["next"] = None
    if arguments.json:
        say_json(whole)
        return
    meta = whole["metadata"]
    cost = "unknown" if meta["cost"] is None else f"{meta['cost']:.6f} dollars"
    say(f"{whole['id']}  owner {whole['owner']}  user {whole['user'] or '-'}  {meta['total_turns']} turns, cost {cost}")
    say(f"used {whole['updated_at']}, expires {whole['expires_at']}")
    for line in whole["messages"]:
        content = line["content"] if isinstance(line["content"], str) else repr(line["content"])
        by = f" ({line['provider']}, {line['model']})" if line["provider"] else ""
        mark = " [cut short]" if line["incomplete"] else ""
        shown = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in content)
        say(f"\n{line['turn']}. {line['role']}{by}{mark}\n{shown}")


async def _export(arguments: Namespace, environ: Mapping[str, str]) -> int:
    config = direct(arguments, environ)
    sessions = size = 0
    with _output(arguments.output) as file:
        async for piece in _lines(arguments, environ) if config is None else _stored(arguments, environ):
            file.write(piece)
            sessions, size = sessions + piece.count(b"\n"), size + len(piece)
            progress(f"{sessions} sessions, {size >> 10} KiB")
        file.flush()
    progress(f"{sessions} sessions, {size >> 10} KiB", done=True)
    return 0


async def _lines(arguments: Namespace, environ: Mapping[str, str]) -> AsyncIterator[bytes]:
    async with desk(arguments, environ) as at, at.stream("/sessions/export", _filter(arguments)) as pieces:
        async for piece in pieces:
            yield piece


async def _stored(arguments: Namespace, environ: Mapping[str, str]) -> AsyncIterator[bytes]:
    config = direct(arguments, environ)
    assert config is not None  # noqa: S101 - asked for before
    wanted = wanted_of(**{name: getattr(arguments, name) for name in _FILTERS})
    async with opened_store(config) as store:
        keyed = bool(config.sessions.encryption.keys)
        async for line in exported(store, wanted, arguments.owner, None, keyed=keyed):
            yield line


def _output(path: str | None) -> Any:  # noqa: ANN401 - a file, in a context or not
    if path is None:
        return nullcontext(sys.stdout.buffer)
    try:
        return Path(path).open("wb")
    except OSError as exc:
        raise CommandFailed(f"{path}: {exc.strerror}.") from None


async def _import(at: Desk, arguments: Namespace) -> None:
    with _input(arguments.input) as source:
        params = {"existing": arguments.existing}
        done = await at.ask("POST", "/sessions/import", params=params, content=_pieces(source))
    _told(arguments, done, f"{done['imported']} imported, {done['skipped']} skipped, {done['replaced']} replaced")


def _input(path: str | None) -> Any:  # noqa: ANN401 - a file, in a context or not
    if path is None:
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(path).open("rb")
    except OSError as exc:
        raise CommandFailed(f"{path}: {exc.strerror}.") from None


async def _pieces(source: IO[bytes]) -> AsyncIterator[bytes]:
    sent = 0
    while piece := await asyncio.to_thread(source.read, _PIECE):
        sent += len(piece)
        progress(f"{sent >> 10} KiB sent")
        yield piece
    progress(f"{sent >> 10} KiB sent, now checked and written", done=True)


async def _delete(at: Desk, arguments: Namespace) -> None:
    if arguments.id:
        done = await at.ask("DELETE", f"/sessions/{arguments.id}", params=_whose(arguments))
        _told(arguments, done, f"{arguments.id} is deleted.")
        return
    sums = {"examined": 0, "matched": 0, "deleted": 0}
    params: dict[str, Any] = {**_filter(arguments), "dry_run": arguments.dry_run, "all": arguments.all}
    cursor: str | None = None
    while True:
        step = await at.ask("DELETE", "/sessions", params={**params, "cursor": cursor})
        sums = {name: value + step[name] for name, value in sums.items()}
        progress(f"{sums['examined']} examined, {sums['matched']} matched, {sums['deleted']} deleted")
        cursor = step["next"]
        if cursor is None:
            break
    progress("", done=True)
    told = f"{sums['matched']} would be deleted" if arguments.dry_run else f"{sums['deleted']} deleted"
    _told(arguments, {**sums, "dry_run": arguments.dry_run}, f"{told}, of {sums['examined']} examined.")


_FILTERS = ("user", "provider", "model", "newer_than", "older_than")


def _filter(arguments: Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("owner", *_FILTERS)}


def _whose(arguments: Namespace) -> dict[str, Any]:
    return {"owner": arguments.owner, "user": arguments.user}


def _listed(arguments: Namespace, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    if arguments.json:
        say_json(rows)
    else:
        say_table([name.upper() for name in columns], [[row.get(name) for name in columns] for row in rows])


def _told(arguments: Namespace, answer: object, text: str) -> None:
    if arguments.json:
        say_json(answer)
    else:
        say(text)
