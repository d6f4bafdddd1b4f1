"""`gateway check`: says what is wrong with a configuration, or what a right one means."""

import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from gateway.commands.load import chosen_file, load, read
from gateway.config import ClientKey, Config, Credential, Provider

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHORT_KEY = 16
_UNSET = ("", "unset")
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_DAYS_FROM = 2 * 86400
_INDENT = 14


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Print the summary; returns the exit code 0. Raises ConfigError for the first mistake."""
    config = load(arguments, environ)
    path = chosen_file(arguments, environ)
    tree = yaml.safe_load(read(path)) if path else None
    lines = [f"{path or 'The environment'}: this configuration is right.", "", *summary(config)]
    found = [*warnings(config), *_written_out(tree or {})]
    if found:
        lines += ["", "Warnings", *(f"  - {warning}" for warning in found)]
    print("\n".join(lines))  # noqa: T201 - the command's answer
    return 0


def summary(config: Config) -> Iterator[str]:
    """What the configuration means, without secrets."""
    server, sessions = config.server, config.sessions
    workers = "1 worker" if server.workers == 1 else f"{server.workers} workers"
    yield from _section("Listens on", [f"{server.host}, port {server.port}, {workers}"])
    yield from _section("Clients", _clients(config))
    has_key = config.management.key or config.management.sha256
    where = f"/v0/management{f' on port {config.management.port}' if config.management.port else ''}, with a key"
    yield from _section("Management", [where if has_key else "off: management.key is not set"])
    kept = f"{span(sessions.ttl)} after the last turn, {span(sessions.max_age)} at most"
    yield from _section("Sessions", [_store(config), f"kept {kept}", f"without the store: {sessions.on_failure}"])
    if endpoint := config.tracing.endpoint:
        share = "" if config.tracing.sample is None else f", {config.tracing.sample:.0%} of exchanges"
        yield from _section("Traces", [f"to {urlsplit(endpoint).netloc.rpartition('@')[2]}{share}"])
    yield from _section("Providers", map(_provider, config.providers, config.providers.values()))
    yield from _section("Models", _models(config))


def warnings(config: Config) -> Iterator[str]:
    """What is allowed and probably not meant."""
    used = {target.provider for model in config.models.values() for target in model.targets}
    for name, provider in config.providers.items():
        if name not in used:
            yield f"providers.{name}: no model uses it."
        if not provider.enabled:
            yield f"providers.{name}: it is switched off."
            continue
        yield from _provider_warnings(name, provider)
    if not config.models:
        yield "models: there are none, so every request gets 404."
    for name in config.models:
        if config.auth.keys and not any(_allows(key, name) for key in config.auth.keys):
            yield f"models.{name}: no client key may use it."
    for i, key in enumerate(config.auth.keys):
        for pattern in key.models:
            if not any(_overlap(pattern, name) for name in config.models):
                yield f"auth.keys[{i}].models: {pattern!r} is no model of this configuration."
    yield from _budget_warnings(config)
    yield from _other_warnings(config)


def span(seconds: float) -> str:
    """A duration as the configuration writes it."""
    for size, unit in _UNITS:
        if seconds >= max(size, _DAYS_FROM if unit == "d" else 0) and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"


def _budget_warnings(config: Config) -> Iterator[str]:
    if any(key.limits.budgeted for key in config.auth.keys):
        for name, model in config.models.items():
            if not model.prices and not any(target.prices for target in model.targets):
                yield f"models.{name}.prices: there are none, so client keys with a budget cannot use it."


def _other_warnings(config: Config) -> Iterator[str]:
    if config.auth.mode == "none" and config.server.host not in _LOOPBACK:
        yield f"auth.mode: none: anyone who reaches {config.server.host} may use every provider."
    if 0 < len(config.management.key) < _SHORT_KEY:
        yield f"management.key: shorter than {_SHORT_KEY} characters; it opens every conversation."
    if config.sessions.ttl > config.sessions.max_age:
        yield "sessions.ttl: longer than sessions.max_age, which ends a session first."
    if config.sessions.store == "file":
        directory = Path(config.sessions.file.directory).expanduser()
        there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            yield f"sessions.file.directory: {directory} cannot be written by this user."


def _provider_warnings(name: str, provider: Provider) -> Iterator[str]:
    keys = _keys(provider)
    url = urlsplit(provider.base_url)
    if not keys and not provider.headers:
        yield f"providers.{name}.keys: there are none, so requests go out without a credential."
    if any(key in _UNSET for key in keys):
        yield f"providers.{name}.keys: a key is not set; its requests will be refused."
    if url.scheme == "http" and keys and url.hostname not in _LOOPBACK and "." in (url.hostname or ""):
        yield f"providers.{name}.base_url: http sends the key and every conversation in the clear."


def _written_out(tree: Mapping[str, Any]) -> Iterator[str]:
    """Secrets that stand in the file itself, as the unread YAML shows them."""
    keys = (tree.get("auth") or {}).get("keys") or []
    found = [(f"auth.keys[{i}].key", key.get("key")) for i, key in enumerate(keys)]
    found.append(("management.key", (tree.get("management") or {}).get("key")))
    for name, provider in (tree.get("providers") or {}).items():
        for i, key in enumerate(provider.get("keys") or []):
            found.append((f"providers.{name}.keys[{i}]", key.get("key") if isinstance(key, dict) else key))
    for path, value in found:
        if value and "${" not in str(value):
            instead = "write ${NAME}" + ("" if path.startswith("providers") else " or `sha256:`")
            yield f"{path}: a secret in plain text; {instead}."


def _clients(config: Config) -> list[str]:
    if config.auth.mode == "none":
        return ["no keys are asked for (auth.mode: none)"]
    if not config.auth.keys:
        return [f"no keys: whoever reaches {config.server.host} may use it"]
    return [
        f"{key.id}: owner {key.owner or key.id}, models {', '.join(key.models)}, sessions {key.sessions}"
        for key in config.auth.keys
    ]


def _store(config: Config) -> str:
    if config.sessions.store == "file":
        return f"files in {Path(config.sessions.file.directory).expanduser()}"
    url = urlsplit(config.sessions.redis.url)
    return f"Redis at {url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def _provider(name: str, provider: Provider) -> str:
    count = len(provider.keys)
    return f"{name}: {provider.kind} at {provider.base_url}, {count} {'key' if count == 1 else 'keys'}"


def _models(config: Config) -> Iterator[str]:
    for name, model in config.models.items():
        targets = sorted(model.targets, key=lambda target: target.priority)
        yield f"{name}: {', '.join(f'{target.provider}/{target.model}' for target in targets)}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    for i, line in enumerate(list(lines) or ["none"]):
        yield f"{title if i == 0 else '':<{_INDENT}}{line}"


def _keys(provider: Provider) -> list[str]:
    """What is written as keys; one that comes from elsewhere is whatever it is."""
    return [
        key.key or key.file or key.command[0] if isinstance(key, Credential) else key
        for key in provider.keys
        if isinstance(key, str) or key.enabled
    ]


def _allows(key: ClientKey, model: str) -> bool:
    return any(_overlap(pattern, model) for pattern in key.models)


def _overlap(one: str, other: str) -> bool:
    """Whether two names, each perhaps with a `*` at its end, can mean the same model."""
    match one.endswith("*"), other.endswith("*"):
        case True, True:
            shorter, longer = sorted((one[:-1], other[:-1]), key=len)
            return longer.startswith(shorter)
        case True, False:
            return other.startswith(one[:-1])
        case False, True:
            return one.startswith(other[:-1])
        case _:
            return one == other
