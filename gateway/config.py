"""The configuration: frozen structs, one YAML file, `${NAME}` for secrets.

Reading is pure: text and an environment mapping go in, a Config comes out, or a ConfigError that names the key.
An unknown key is an error.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
import yaml
from msgspec import Struct, field

from gateway.checks import problems
from gateway.explain import dotted, explain

ProviderKind = Literal["openai", "openai-responses", "anthropic", "gemini"]
SessionMode = Literal["history", "affinity", "off"]
Strategy = Literal["round-robin", "weighted", "least-busy"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)?")
_BYTES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")


class ConfigError(Exception):
    """A mistake in the configuration; the message says where and what to do."""


class Duration(float):
    """Seconds; written `250ms`, `30s`, `15m`, `24h`, `30d`."""


class Size(int):
    """Bytes; written `64KiB`, `8MiB`, or a plain number."""


class _Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every section: an unknown key is an error."""


class Server(_Base, frozen=True):
    """Where and how the gateway listens.

    `cors_origins`: web pages that may call it from a browser, each as `https://host[:port]`, or `*` for every one.

    At a stop readiness says no at once; requests are still served for `shutdown_delay`, so that balancers notice first.
    What is under way then has `shutdown_grace`.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    max_body: Size = Size(32 << 20)
    max_concurrency: int = 2000
    shutdown_delay: Duration = Duration(0)
    shutdown_grace: Duration = Duration(60)
    cors_origins: tuple[str, ...] = ()


class KeyLimits(_Base, frozen=True):
    """How much one client key may use, over the whole fleet; 0 for no limit. Tokens: of prompts and replies.

    The `dollars_*` are budgets, of calendar days and months in UTC. What a budget is spent on must have a price: a key
    that has one is not served by targets without.
    """

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 0
    dollars_per_day: float = 0
    dollars_per_month: float = 0

    @property
    def budgeted(self) -> bool:
        """Whether there is a budget."""
        return self.dollars_per_day > 0 or self.dollars_per_month > 0


class ClientKey(_Base, frozen=True):
    """A key that clients use. Exactly one of `key` and `sha256` (hex of the key's SHA-256)."""

    id: str
    key: str = ""
    sha256: str = ""
    owner: str = ""
    models: tuple[str, ...] = ("*",)
    sessions: SessionMode = "history"
    limits: KeyLimits = KeyLimits()


class Auth(_Base, frozen=True):
    """Who may use the data plane."""

    mode: Literal["keys", "none"] = "keys"
    keys: tuple[ClientKey, ...] = ()


class Management(_Base, frozen=True):
    """The management API; without a key its routes do not exist. `sha256` may stand in for `key`."""

    key: str = ""
    sha256: str = ""
    port: int | None = None
    trusted_proxies: tuple[str, ...] = ()


class FileSessions(_Base, frozen=True):
    """Where the file store keeps sessions."""

    directory: str = "~/.local/share/gateway/sessions"


class RedisSessions(_Base, frozen=True):
    """How Redis is reached. `timeout` bounds a whole operation, `connect_timeout` making a connection.

    For Sentinel and Cluster `url` names several servers: `redis://user:password@host:port,host:port/0`.
    `connections`: at most so many from one worker to one server. The `sentinel_*` are Sentinel's alone: the name of
    the master, and what the sentinels themselves want to be told. A turn waits up to `wait_timeout` until so many
    `wait_replicas` have it.
    """

    url: str = "redis://localhost:6379/0"
    mode: Literal["single", "sentinel", "cluster"] = "single"
    prefix: str = "gw:"
    timeout: Duration = Duration(0.25)
    connect_timeout: Duration = Duration(0.25)
    connections: int = 4
    wait_replicas: int = 0
    wait_timeout: Duration = Duration(0.1)
    sentinel_master: str = "mymaster"
    sentinel_username: str = ""
    sentinel_password: str = ""


class EncryptionKey(_Base, frozen=True):
    """A key of AES-256: 32 bytes, as base64 or as 64 hexadecimal digits. `id` is stored beside what it encrypts."""

    id: str
    key: str

    @property
    def secret(self) -> bytes:
        """The 32 bytes. Raises ValueError if they are not."""
        if re.fullmatch(r"[0-9a-fA-F]{64}", self.key):
            return bytes.fromhex(self.key)
        secret = b64decode(self.key, validate=True)
        if len(secret) != 32:  # noqa: PLR2004 - AES-256
            raise ValueError(self.id)
        return secret


class Encryption(_Base, frozen=True):
    """What is said in sessions is encrypted with the first key, and read with any; none: stored as it is."""

    keys: tuple[EncryptionKey, ...] = ()


class Sessions(_Base, frozen=True):
    """Rules of sessions: what is kept, for how long, and what happens when the store is down.

    `cache`: so much a worker keeps in memory of sessions that it serves, to read only what is new of them; 0: nothing.
    """

    store: Literal["file", "redis"] = "file"
    ttl: Duration = Duration(24 * 3600)
    max_age: Duration = Duration(30 * 86400)
    max_turns: int = 1000
    max_bytes: Size = Size(8 << 20)
    max_sessions: int = 0
    cache: Size = Size(16 << 20)
    partial_turns: Literal["keep", "drop"] = "keep"
    conflict: Literal["order", "reject"] = "order"
    on_failure: Literal["stateless", "reject"] = "stateless"
    compression: Literal["none", "zstd"] = "none"
    encryption: Encryption = Encryption()
    file: FileSessions = FileSessions()
    redis: RedisSessions = RedisSessions()


class History(_Base, frozen=True):
    """How much history is put in front of a new message."""

    max_turns: int = 200


class Responses(_Base, frozen=True):
    """Responses that are stored without a session's header, so that `previous_response_id` and `GET` find them.

    `store` always: unless the client says `store: false`, as at the vendor. asked: only where it says `store: true`.
    """

    store: Literal["always", "asked"] = "always"


class Routing(_Base, frozen=True):
    """How a target is chosen and how often another one is tried.

    Of equals, for requests that belong to no session: `round-robin` takes them in turn by weight, `weighted` draws by
    weight, `least-busy` takes the one with the fewest requests in flight for its weight, in the whole fleet.

    `wait`: where all targets cool down, a request waits at most so long for the one that is ready first, instead of
    being refused at once.
    """

    strategy: Strategy = "round-robin"
    attempts: int = 3
    wait: Duration = Duration(0)
    deadline: Duration = Duration(600)


class Streaming(_Base, frozen=True):
    """`keepalive`: how long a stream may be silent before a comment is sent."""

    keepalive: Duration = Duration(15)


class Tracing(_Base, frozen=True):
    """OpenTelemetry traces; off without an `endpoint`: a collector's address, OTLP over HTTP.

    `sample`: the share of exchanges that are traced where the client has not decided; null: OTEL_TRACES_SAMPLER says.
    """

    endpoint: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    sample: float | None = None


class Timeouts(_Base, frozen=True):
    """Limits of one attempt: to connect, to the first event of a stream, to a whole reply, between two events."""

    connect: Duration = Duration(5)
    first_event: Duration = Duration(120)
    reply: Duration = Duration(300)
    idle: Duration = Duration(60)


class Credential(_Base, frozen=True):
    """One account at a provider. `id` names it in logs; made from its place in the list if absent.

    Lower `priority` first, among those that serve a target. `concurrency`: at most so many requests at once from one
    worker, 0 for no limit.

    Exactly one of `key`, `file` (which holds it) and `command` (which prints it); the latter two are asked again every
    `refresh`.
    """

    key: str = ""
    file: str = ""
    command: tuple[str, ...] = ()
    refresh: Duration = Duration(600)
    id: str = ""
    weight: int = 1
    priority: int = 0
    concurrency: int = 0
    enabled: bool = True


class Provider(_Base, frozen=True):
    """An upstream service. `base_url` is what the vendor's own SDK takes.

    `cache_hints`: for sessions, the vendor is told what to keep in its prompt cache. Not `enabled`: as if it were in
    no model.
    """

    kind: ProviderKind
    base_url: str
    keys: tuple[str | Credential, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    proxy: str | None = None
    cache_hints: bool = True
    enabled: bool = True
    timeouts: Timeouts = Timeouts()


class Prices(_Base, frozen=True):
    """Dollars per million tokens.

    `cached` and `cache_write` are parts of the prompt, priced as `input` if absent; `reasoning` is a part of the
    reply, priced as `output` if absent.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None


class Target(_Base, frozen=True):
    """One way to serve a model. Lower `priority` first; a `*` in `model` is the asked name after the slash.

    `prices`: where they are not the model's.
    """

    provider: str
    model: str
    priority: int = 0
    weight: int = 1
    prices: Prices | None = None


class Model(_Base, frozen=True):
    """A public model name's targets. `context_tokens`: how large a prompt they take, 0 if unknown.

    Without `prices` the cost of a request is unknown.
    `defaults` and `overrides` are members of the request as the provider gets it: set where it has none, or always (an
    override of null takes the member out). `fallbacks` are models whose targets are tried when all of these failed.
    """

    targets: tuple[Target, ...]
    context_tokens: int = 0
    max_output_tokens: int = 0
    prices: Prices | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()


class Config(_Base, frozen=True):
    """The whole file."""

    server: Server = Server()
    auth: Auth = Auth()
    management: Management = Management()
    sessions: Sessions = Sessions()
    history: History = History()
    responses: Responses = Responses()
    routing: Routing = Routing()
    streaming: Streaming = Streaming()
    tracing: Tracing = Tracing()
    providers: dict[str, Provider] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """YAML without dates: an Azure `api-version: 2026-10-01` is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name is PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse(text: str, environ: Mapping[str, str]) -> Config:
    """A Config from the text of a YAML file. Raises ConfigError."""
    try:
        tree = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as exc:
        raise ConfigError(f"This is not YAML: {exc}") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError("The file must be a mapping of sections such as `server:` and `providers:`.")
    config = _convert(_substitute(tree, environ, "$"))
    check(config)
    return config


def from_environment(environ: Mapping[str, str]) -> Config:
    """A Config without a file: one provider for each vendor's API key in the environment."""
    vendors: tuple[tuple[str, str, ProviderKind, str, str], ...] = (
        ("OPENAI_API_KEY", "openai", "openai", "https://api.openai.com/v1", "gpt-*"),
        ("ANTHROPIC_API_KEY", "anthropic", "anthropic", "https://api.anthropic.com", "claude-*"),
        ("GEMINI_API_KEY", "gemini", "gemini", "https://generativelanguage.googleapis.com", "gemini-*"),
    )
    providers: dict[str, Provider] = {}
    models: dict[str, Model] = {}
    for variable, name, kind, base_url, wildcard in vendors:
        if environ.get(variable):
            providers[name] = Provider(kind=kind, base_url=base_url, keys=(environ[variable],))
            targets = (Target(provider=name, model="*"),)
            models[wildcard] = Model(targets=targets)
            models[f"{name}/*"] = Model(targets=targets)
    if not providers:
        names = ", ".join(variable for variable, *_ in vendors)
        raise ConfigError(f"There is no provider: give a file with --config, or set one of {names}.")
    config = Config(providers=providers, models=models)
    check(config)
    return config


def override(config: Config, environ: Mapping[str, str]) -> Config:
    """The GATEWAY_* variables over the file. Raises ConfigError."""
    changes: dict[str, dict[str, Any]] = {}
    for variable, section, name in (
        ("GATEWAY_HOST", "server", "host"),
        ("GATEWAY_PORT", "server", "port"),
        ("GATEWAY_WORKERS", "server", "workers"),
        ("GATEWAY_MANAGEMENT_KEY", "management", "key"),
    ):
        if value := environ.get(variable):
            number = name in ("port", "workers")
            if number and not value.isdecimal():
                raise ConfigError(f"{variable} must be a number, and is {value!r}.")
            changes.setdefault(section, {})[name] = int(value) if number else value
    if url := environ.get("GATEWAY_REDIS_URL"):
        redis = msgspec.structs.replace(config.sessions.redis, url=url)
        changes["sessions"] = {"store": "redis", "redis": redis}
    if endpoint := _collector(environ):
        changes["tracing"] = {"endpoint": endpoint}
    if _switched_off(environ):
        changes["tracing"] = {"endpoint": ""}
    sections = {
        section: msgspec.structs.replace(getattr(config, section), **fields) for section, fields in changes.items()
    }
    changed = msgspec.structs.replace(config, **sections)
    check(changed)
    return changed


def _collector(environ: Mapping[str, str]) -> str:
    """Where OpenTelemetry's own variables send traces. Raises ConfigError for a protocol that is not spoken."""
    own, common = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if (own or common) and not _switched_off(environ):
        for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if environ.get(variable, "http/protobuf") != "http/protobuf":
                raise ConfigError(f"{variable}: traces are sent as http/protobuf, not as {environ[variable]}.")
    return own or (f"{common.rstrip('/')}/v1/traces" if common else "")


def _switched_off(environ: Mapping[str, str]) -> bool:
    return environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"


# ---------------------------------------------------------------- reading


def _substitute(tree: Any, environ: Mapping[str, str], path: str) -> Any:  # noqa: ANN401 - YAML is anything
    if isinstance(tree, dict):
        return {key: _substitute(value, environ, f"{path}.{key}") for key, value in tree.items()}
    if isinstance(tree, list):
        return [_substitute(value, environ, f"{path}[{i}]") for i, value in enumerate(tree)]
    if not isinstance(tree, str):
        return tree

    def value_of(match: re.Match[str]) -> str:
        name, has_default, default = match[1], match[2], match[3]
        found = environ.get(name)
        if found:
            return found
        if has_default:
            return default
        raise ConfigError(f"{dotted(path)}: ${{{name}}} has no value; set it, or write ${{{name}:-default}}.")

    return _VARIABLE.sub(value_of, tree)


def _hook(kind: type, value: object) -> object:
    if kind is Duration:
        return _duration(value)
    if kind is Size:
        return _size(value)
    raise NotImplementedError(kind)


def _duration(value: object) -> Duration:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a duration is written 250ms, 30s, 15m, 24h or 30d, not {value!r}")
    return Duration(float(match[1]) * _SECONDS[match[2]])


def _size(value: object) -> Size:
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"a size is written 64KiB, 8MiB or as a number of bytes, not {value!r}")
    return Size(int(match[1]) * _BYTES[match[2]])


def _convert(tree: dict[str, Any]) -> Config:
    def convert(value: object, kind: Any) -> Any:  # noqa: ANN401 - types are values here
        return msgspec.convert(value, kind, strict=False, dec_hook=_hook)

    try:
        return cast("Config", convert(tree, Config))
    except msgspec.ValidationError as exc:
        raise ConfigError(explain(exc, tree, Config, convert)) from None


# ---------------------------------------------------------------- checking


def check(config: Config) -> None:
    """What types cannot say. Raises ConfigError with the first mistake."""
    for problem in problems(config):
        raise ConfigError(problem)
