"""`gateway sessions`: conversations, in a running gateway or in a store."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import msgspec

from gateway.api.selection import wanted_of
from gateway.api.transfer import exported
from gateway.commands.desk import Desk, desk, direct, opened_store
from gateway.commands.load import CommandFailed, WrongArguments
from gateway.commands.tables import listed, progress, say, say_json, told

_PIECE = 1 << 20
_SHOWN = 100
_FILTERS = ("user", "provider", "model", "newer_than", "older_than")


async def run(arguments: Namespace, environ: Mapping[str, str]) -> None:
    """Do what is asked for. Raises CommandFailed, ConfigError."""
    if arguments.action == "export":
        await _export(arguments, environ)
        return
    if arguments.action == "delete" and not arguments.id:
        _refuse_everything(arguments)
    body = _body(arguments)
    async with desk(arguments, environ) as at:
        match arguments.action:
            case "list":
                await _list(at, arguments)
            case "show":
                await _show(at, arguments)
            case "import":
                await _import(at, arguments)
            case "delete":
                await _delete(at, arguments)
            case _:
                await _change(at, arguments, body)


# ---------------------------------------------------------------- finding


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
    rows = found if arguments.json else [{**session, **session["metadata"]} for session in found]
    columns = ("id", "owner", "user", "updated_at", "total_turns", "total_tokens", "last_provider", "last_model")
    listed(arguments, rows, columns)
    if cursor is not None and not arguments.json:
        sys.stderr.write(f"There are more; --limit shows more than {arguments.limit}.\n")


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
    turns = _turns(meta["total_turns"])
    say(f"{whole['id']}  owner {whole['owner']}  user {whole['user'] or '-'}  {turns}, cost {cost}")
    say(f"used {whole['updated_at']}, expires {whole['expires_at']}")
    for line in whole["messages"]:
        by = f" ({line['provider']}, {line['model']})" if line["provider"] else ""
        mark = " [cut short]" if line["incomplete"] else ""
        shown = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in _text(line["content"]))
        say(f"\n{line['turn']}. {line['role']}{by}{mark}\n{shown}")


def _turns(number: int) -> str:
    return f"{number} turn{'' if number == 1 else 's'}"


def _text(content: str | list[dict[str, Any]]) -> str:
    """What a person reads of a content; data is told by its size."""
    if isinstance(content, str):
        return content
    return "\n".join(_part(part) for part in content)


def _part(part: dict[str, Any]) -> str:
    match part["type"]:
        case "text" | "refusal":
            return str(part["text"])
        case "reasoning":
            return f"[reasoning] {part.get('text') or 'not shown by the provider'}"
        case "tool_call":
            return f"[calls {part['name']}] {part.get('arguments', '')}"
        case "tool_result":
            return f"[result of {part.get('name') or part.get('call_id')}] {_text(part.get('content') or '')}"
        case kind:
            size = f", {len(part['data']) * 3 // 4} bytes" if part.get("data") else ""
            return f"[{kind}{size}] {part.get('url') or part.get('file_id') or part.get('media_type') or ''}"


# ---------------------------------------------------------------- moving


async def _export(arguments: Namespace, environ: Mapping[str, str]) -> None:
    sessions = size = 0
    pieces = _lines(arguments, environ) if direct(arguments, environ) is None else _stored(arguments, environ)
    try:
        with _output(arguments.output) as file:
            async for piece in pieces:
                file.write(piece)
                sessions, size = sessions + piece.count(b"\n"), size + len(piece)
                progress(f"{sessions} sessions, {size >> 10} KiB")
            file.flush()
    except BrokenPipeError:
        _let_go_of_output()
        raise CommandFailed("Nobody reads the export any more; it is not complete.") from None
    except OSError as exc:
        raise CommandFailed(f"The export cannot be written: {exc.strerror}. It is not complete.") from None
    finally:
        await pieces.aclose()
    progress(f"{sessions} sessions, {size >> 10} KiB", done=True)


def _let_go_of_output() -> None:
    """What is buffered for nobody must not fail once more at the end."""
    try:
        sys.stdout.close()
    except BrokenPipeError:
        return


async def _lines(arguments: Namespace, environ: Mapping[str, str]) -> AsyncGenerator[bytes]:
    async with desk(arguments, environ) as at, at.stream("/sessions/export", _filter(arguments)) as pieces:
        async for piece in pieces:
            yield piece


async def _stored(arguments: Namespace, environ: Mapping[str, str]) -> AsyncGenerator[bytes]:
    config = direct(arguments, environ)
    assert config is not None  # noqa: S101 - asked for before
    wanted = wanted_of(**{name: getattr(arguments, name) for name in _FILTERS})
    async with opened_store(config, arguments) as store:
        keyed = bool(config.sessions.encryption.keys)
        async for line in exported(store, wanted, arguments.owner, None, keyed=keyed):
            yield line


def _output(path: str | None) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdout.buffer) if path is None else _opened(path, "wb")


def _opened(path: str, mode: str) -> IO[bytes]:
    try:
        return Path(path).open(mode)
    except OSError as exc:
        raise CommandFailed(f"{path}: {exc.strerror}.") from None


async def _import(at: Desk, arguments: Namespace) -> None:
    with nullcontext(sys.stdin.buffer) if arguments.input is None else _opened(arguments.input, "rb") as source:
        params = {"existing": arguments.existing}
        done = await at.ask("POST", "/sessions/import", params=params, content=_pieces(source))
    told(arguments, done, f"{done['imported']} imported, {done['skipped']} skipped, {done['replaced']} replaced")


async def _pieces(source: IO[bytes]) -> AsyncIterator[bytes]:
    sent = 0
    while piece := await asyncio.to_thread(source.read, _PIECE):
        sent += len(piece)
        progress(f"{sent >> 10} KiB sent")
        yield piece
    progress(f"{sent >> 10} KiB sent, now checked and written", done=True)


# ---------------------------------------------------------------- changing


def _body(arguments: Namespace) -> dict[str, Any]:
    """What a change says, read before anything is asked."""
    match arguments.action:
        case "create":
            names = {"owner": "owner", "user": "user", "id": "new_id", "dialect": "dialect", "ttl": "ttl", "pin": "pin"}
            given = {name: value for name, of in names.items() if (value := getattr(arguments, of)) is not None}
            return given if arguments.messages is None else {**given, "messages": _messages(arguments.messages)}
        case "fork":
            return {name: value for name in ("at", "id") if (value := getattr(arguments, f"new_{name}")) is not None}
        case "pin":
            return {"pin": None if arguments.provider == "none" else arguments.provider}
        case "extend":
            return {"ttl": arguments.ttl}
        case "context":
            return {"user_context": _json(arguments.context.encode(), dict, "The context")}
    return {}


def _messages(path: str) -> Any:  # noqa: ANN401 - JSON
    with nullcontext(sys.stdin.buffer) if path == "-" else _opened(path, "rb") as source:
        return _json(source.read(), list, "The messages")


def _json(data: bytes, kind: type, what: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        shape = "an object" if kind is dict else "an array"
        raise WrongArguments(f"{what} must be {shape} in JSON: {exc}.") from None


async def _change(at: Desk, arguments: Namespace, body: dict[str, Any]) -> None:
    if arguments.action == "create":
        made = await at.ask("POST", "/sessions", json=body)
        told(arguments, made, made["id"])
        return
    path, whose = f"/sessions/{arguments.id}", _whose(arguments)
    match arguments.action:
        case "fork":
            made = await at.ask("POST", f"{path}/fork", json=body, params=whose)
            told(arguments, made, made["id"])
        case "drop":
            left = await at.ask("DELETE", f"{path}/turns", params={**whose, "last": arguments.last})
            told(arguments, left, f"{arguments.id}: {_turns(left['last_turn'] - left['first_turn'] + 1)} left.")
        case _:
            changed = await at.ask("PATCH", path, json=body, params=whose)
            told(arguments, changed, _changed(arguments, changed))


def _changed(arguments: Namespace, session: dict[str, Any]) -> str:
    match arguments.action:
        case "pin":
            return f"{arguments.id}: {session['metadata']['preferred_provider'] or 'not pinned'}"
        case "extend":
            return f"{arguments.id} lives until {session['expires_at']}."
    return f"{arguments.id}: {msgspec.json.encode(session['metadata']['user_context']).decode()}"


# ---------------------------------------------------------------- deleting


def _refuse_everything(arguments: Namespace) -> None:
    if not arguments.all and all(value is None for value in _filter(arguments).values()):
        raise WrongArguments("Say which sessions: an id, a filter such as --owner, or --all for all of them.")


async def _delete(at: Desk, arguments: Namespace) -> None:
    if arguments.id:
        done = await at.ask("DELETE", f"/sessions/{arguments.id}", params=_whose(arguments))
        told(arguments, done, f"{arguments.id} is deleted.")
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
    done_ = f"{sums['matched']} would be deleted" if arguments.dry_run else f"{sums['deleted']} deleted"
    told(arguments, {**sums, "dry_run": arguments.dry_run}, f"{done_}, of {sums['examined']} examined.")


def _filter(arguments: Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("owner", *_FILTERS)}


def _whose(arguments: Namespace) -> dict[str, Any]:
    return {"owner": arguments.owner, "user": arguments.user}
