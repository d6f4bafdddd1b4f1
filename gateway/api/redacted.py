"""The configuration as it may be shown: everything but its secrets."""

import re
from typing import Any

import msgspec

HIDDEN = "***"
_SECRET = {"key", "secret", "sha256", "sentinel_password"}
_VALUES = {"headers", "query"}
_USER = re.compile(r"(?<=://)[^/@\s]*(?=@)")


def redacted(value: Any) -> Any:  # noqa: ANN401 - a URL, or a whole configuration as JSON has it
    """A URL without user and password; a configuration without keys, hashes, passwords, header and query values."""
    if isinstance(value, str):
        return _USER.sub(HIDDEN, value)
    return _shown(msgspec.to_builtins(value, enc_hook=_plain))


def _plain(value: object) -> int | float:
    """Sizes are whole numbers of bytes, durations seconds."""
    return int(value) if isinstance(value, int) else float(str(value))


def _shown(value: Any, name: str = "") -> Any:  # noqa: ANN401 - JSON
    match value:
        case dict():
            if name in _VALUES:
                return dict.fromkeys(value, HIDDEN)
            return {key: _shown(inner, key) for key, inner in value.items()}
        case list() | tuple():
            return [_item(inner, name) for inner in value]
        case str():
            return HIDDEN if value and name in _SECRET else redacted(value)
        case _:
            return value


def _item(value: Any, name: str) -> Any:  # noqa: ANN401 - JSON
    """One of a list: a provider's `keys` may be bare strings."""
    if name == "keys" and isinstance(value, str):
        return HIDDEN if value else value
    return _shown(value, "")
