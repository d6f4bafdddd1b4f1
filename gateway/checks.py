"""What types cannot say of a configuration: each problem as a line that names the key and says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_network
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Config, Credential, Encryption, Model, Prices, Provider, RedisSessions, Target

CONVERSATION = frozenset({"model", "messages", "input", "contents", "stream", "stream_options"})
"""Members that no setting may change: what is said, who answers, and how the answer is framed."""


def problems(config: Config) -> Iterator[str]:
    """Every mistake, in the order of the file."""
    yield from _server(config)
    yield from _keys(config)
    yield from _management(config)
    yield from _sessions(config)
    yield from _tracing(config)
    yield from _routes(config)


def _server(config: Config) -> Iterator[str]:
    server = config.server
    if not 0 <= server.port <= 65535:  # noqa: PLR2004 - TCP
        yield f"server.port: a port is 0 to 65535, not {server.port}."
    if server.workers < 1:
        yield "server.workers: at least 1."
    if server.max_concurrency < 1:
        yield "server.max_concurrency: at least 1."
    for path in ("routing.attempts", "history.max_turns", "sessions.max_turns", "server.max_body"):
        if _at(config, path) < 1:  # type: ignore[operator]
            yield f"{path}: at least 1."
    for i, origin in enumerate(server.cors_origins):
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#*]+", origin):
            yield f"server.cors_origins[{i}]: an origin is https://host or https://host:port, and is {origin!r}."
    if "*" in server.cors_origins and config.auth.mode == "keys" and not config.auth.keys:
        yield "server.cors_origins: `*` needs client keys, or any web page could use the providers; name the pages."
    open_to_all = config.auth.mode == "keys" and not config.auth.keys
    if open_to_all and server.host not in ("127.0.0.1", "localhost", "::1"):
        yield (
            f"server.host: {server.host} is reachable from outside and there are no client keys; "
            "add auth.keys, or say auth.mode: none on purpose."
        )


def _tracing(config: Config) -> Iterator[str]:
    endpoint, sample = config.tracing.endpoint, config.tracing.sample
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        yield f"tracing.endpoint: it starts with http:// or https://, and is {endpoint!r}."
    if sample is not None and not 0 <= sample <= 1:
        yield f"tracing.sample: a share is 0 to 1, not {sample}."


def _keys(config: Config) -> Iterator[str]:
    seen: set[str] = set()
    for i, key in enumerate(config.auth.keys):
        path = f"auth.keys[{i}]"
        if bool(key.key) == bool(key.sha256):
            yield f"{path}: give exactly one of `key` and `sha256`."
        if key.id in seen:
            yield f"{path}.id: {key.id!r} is there twice."
        if key.key and key.key == key.id:
            yield f"{path}.id: it appears in logs, so it must not be the key itself."
        seen.add(key.id)
        yield from _hex(key.sha256, f"{path}.sha256")
        for name in key.limits.__struct_fields__:
            if not 0 <= getattr(key.limits, name) < inf:
                yield f"{path}.limits.{name}: at least 0, which means no limit."
    if config.management.key and config.management.sha256:
        yield "management: give only one of `key` and `sha256`."
    yield from _hex(config.management.sha256, "management.sha256")


def _hex(digest: str, path: str) -> Iterator[str]:
    if digest and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        yield f"{path}: a SHA-256 is 64 hexadecimal digits."


def _sessions(config: Config) -> Iterator[str]:
    sessions = config.sessions
    for name in ("ttl", "max_age"):
        if getattr(sessions, name) <= 0:
            yield f"sessions.{name}: must be longer than nothing."
    if sessions.max_bytes < 1024:  # noqa: PLR2004 - less would hold no turn
        yield "sessions.max_bytes: at least 1KiB."
    if sessions.store == "redis" and not re.match(r"(rediss?|unix)://", sessions.redis.url):
        yield "sessions.redis.url: it starts with redis://, rediss:// or unix://."
    yield from _encryption(sessions.encryption)
    yield from _redis(sessions.redis)


def _encryption(encryption: Encryption) -> Iterator[str]:
    seen: set[str] = set()
    for i, key in enumerate(encryption.keys):
        path = f"sessions.encryption.keys[{i}]"
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", key.id):
            yield f"{path}.id: letters, digits, dots, dashes and underscores, at most 64."
        if key.id in seen:
            yield f"{path}.id: {key.id!r} is there twice."
        seen.add(key.id)
        try:
            _ = key.secret
        except ValueError:
            yield f"{path}.key: 32 bytes as base64 or as 64 hexadecimal digits; `openssl rand -base64 32` makes one."


def _redis_times(redis: RedisSessions) -> Iterator[str]:
    for name in ("timeout", "connect_timeout", "wait_timeout"):
        if getattr(redis, name) <= 0:
            yield f"sessions.redis.{name}: must be longer than nothing."
    if redis.wait_replicas < 0:
        yield "sessions.redis.wait_replicas: at least 0, which waits for none."
    if redis.wait_replicas and redis.wait_timeout * 2 > redis.timeout:
        yield "sessions.redis.wait_timeout: at most half of sessions.redis.timeout, of which it is a part."


def _redis(redis: RedisSessions) -> Iterator[str]:
    if re.search(r"[{}\s]", redis.prefix):
        yield "sessions.redis.prefix: no braces and no spaces."
    if redis.connections < 1:
        yield "sessions.redis.connections: at least 1."
    yield from _redis_times(redis)
    if redis.mode == "single" and "," in redis.url.rpartition("@")[2].partition("?")[0]:
        yield "sessions.redis.url: several servers need `mode: sentinel` or `mode: cluster`."
    if redis.mode != "single" and redis.url.startswith("unix:"):
        yield "sessions.redis.url: unix:// is for `mode: single`."
    if redis.mode == "cluster" and re.search(r"[^/]/[1-9]", redis.url.rpartition("@")[2]):
        yield "sessions.redis.url: Redis Cluster has database 0 only."
    default = type(redis)()
    for name in ("sentinel_master", "sentinel_username", "sentinel_password"):
        if redis.mode != "sentinel" and getattr(redis, name) != getattr(default, name):
            yield f"sessions.redis.{name}: only for `mode: sentinel`."


def _routes(config: Config) -> Iterator[str]:
    for name, provider in config.providers.items():
        yield from _provider(name, provider)
    for name, model in config.models.items():
        if not model.targets:
            yield f"models.{name}: at least one target."
        if "*" in name and (not name.endswith("*") or name.count("*") > 1):
            yield f"models.{name}: a wildcard is a `*` at the end."
        yield from _prices(model.prices, f"models.{name}.prices")
        yield from _model(config, name, model)
        for i, target in enumerate(model.targets):
            yield from _target(config, name, target, f"models.{name}.targets[{i}]")


def _provider(name: str, provider: Provider) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        yield f"providers.{name}: a name is letters, digits, dots, dashes and underscores."
    if not re.match(r"https?://[^/]", provider.base_url):
        yield f"providers.{name}.base_url: it starts with http:// or https://, and is {provider.base_url!r}."
    if provider.proxy and not re.match(r"(https?|socks5h?)://[^/]", provider.proxy):
        yield f"providers.{name}.proxy: it starts with http://, https://, socks5:// or socks5h://."
    for i, key in enumerate(provider.keys):
        if not isinstance(key, str):
            yield from _credential(key, f"providers.{name}.keys[{i}]")


def _credential(key: Credential, path: str) -> Iterator[str]:
    if [bool(key.key), bool(key.file), bool(key.command)].count(True) != 1:
        yield f"{path}: give exactly one of `key`, `file` and `command`."
    if key.refresh < 1:
        yield f"{path}.refresh: at least 1s."
    if key.weight < 1:
        yield f"{path}.weight: at least 1."
    if key.concurrency < 0:
        yield f"{path}.concurrency: at least 0, which means no limit."


def _model(config: Config, name: str, model: Model) -> Iterator[str]:
    for setting in ("defaults", "overrides"):
        for member in getattr(model, setting):
            if member in CONVERSATION:
                yield f"models.{name}.{setting}.{member}: the gateway itself decides this member."
    for i, other in enumerate(model.fallbacks):
        if other == name:
            yield f"models.{name}.fallbacks[{i}]: a model is no fallback of itself."
        elif other.endswith("*") or not any(_names(known, other) for known in config.models):
            near = get_close_matches(other, config.models, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "define it under `models`."
            yield f"models.{name}.fallbacks[{i}]: there is no model {other!r}; {hint}"


def _names(known: str, model: str) -> bool:
    return model.startswith(known[:-1]) if known.endswith("*") else known == model


def _target(config: Config, name: str, target: Target, path: str) -> Iterator[str]:
    if target.provider not in config.providers:
        near = get_close_matches(target.provider, config.providers, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "define it under `providers`."
        yield f"{path}.provider: there is no provider {target.provider!r}; {hint}"
    if target.weight < 1:
        yield f"{path}.weight: at least 1."
    yield from _prices(target.prices, f"{path}.prices")
    if "*" in target.model and not name.endswith("*"):
        yield f"{path}.model: `*` needs a wildcard in the model's name."


def _prices(prices: Prices | None, path: str) -> Iterator[str]:
    for name in prices.__struct_fields__ if prices else ():
        price = getattr(prices, name)
        if price is not None and not 0 <= price < inf:
            yield f"{path}.{name}: at least 0 dollars per million tokens."


def _management(config: Config) -> Iterator[str]:
    management = config.management
    for i, cidr in enumerate(management.trusted_proxies):
        try:
            ip_network(cidr, strict=False)
        except ValueError:
            yield f"management.trusted_proxies[{i}]: an address or a network such as 10.0.0.0/8, not {cidr!r}."
    if management.port is not None and not 1 <= management.port <= 65535:  # noqa: PLR2004 - TCP
        yield f"management.port: a port is 1 to 65535, not {management.port}."
    if management.port and management.port == config.server.port:
        yield "management.port: leave it out to manage on server.port."


def _at(config: object, path: str) -> object:
    for name in path.split("."):
        config = getattr(config, name)
    return config
