"""Log lines: one JSON object a line, on standard error, without secrets."""

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO, TextIO
from urllib.parse import urlsplit

import msgspec

from gateway.config import Config, Credential
from gateway.metrics import Record

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SHORTEST = 6  # a shorter secret is a placeholder, and a part of many words
_CREDENTIALS = re.compile(
    r"""(?P<url>(?<=://)[^\s/@"]+(?=@))"""
    r"""|(?P<bearer>(?i:(?<=bearer )[\w.~+/=-]+))"""
    r"""|(?P<query>(?i:(?<=[?&]key=)[^\s&"]+))"""
)


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, then what was given as `extra`.

    `secrets` never appear, wherever they come from; nor do passwords in URLs, bearer tokens and `?key=`.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._known: set[str] = set()
        self._secrets: re.Pattern[str] | None = None
        self.conceal(secrets)

    def conceal(self, secrets: Iterable[str]) -> None:
        """From now on these never appear either."""
        self._known.update(_escaped(s) for s in secrets if len(s) >= _SHORTEST)
        known = sorted(self._known, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known))) if known else None

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = _CREDENTIALS.sub("***", msgspec.json.encode(line, enc_hook=str).decode())
        return self._secrets.sub("***", text) if self._secrets else text


def configure(secrets: Iterable[str] = (), *, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send everything that is logged to standard error, or to `stream`; libraries from warnings on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(level)


def conceal(secrets: Iterable[str]) -> None:
    """Hide these too, wherever `configure` was called."""
    secrets = list(secrets)
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.formatter.conceal(secrets)


def secrets_in(config: Config) -> Iterator[str]:
    """Every value of a configuration that must not be logged."""
    yield from (key.key for key in config.auth.keys)
    yield config.management.key
    yield urlsplit(config.sessions.redis.url).password or ""
    yield config.sessions.redis.sentinel_password
    yield from config.tracing.headers.values()
    yield urlsplit(config.tracing.endpoint).password or ""
    for provider in config.providers.values():
        yield from (key.key if isinstance(key, Credential) else key for key in provider.keys)
        yield from provider.headers.values()
        yield from provider.query.values()
        yield urlsplit(provider.proxy or "").password or ""


def _escaped(secret: str) -> str:
    return msgspec.json.encode(secret).decode()[1:-1]


class ExchangeLog:
    """One JSON line an exchange: no message content, no keys."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._encoder = msgspec.json.Encoder()

    def observe(self, records: Sequence[Record]) -> None:
        """Write the lines of these exchanges."""
        self._stream.write(self._encoder.encode_lines(records))
        self._stream.flush()
