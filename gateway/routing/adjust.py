"""What a model's settings change in a request, in the provider's own members: defaults and overrides (feature C2)."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

_fields = msgspec.json.Decoder(dict[str, Raw])
_anything = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class Adjust(Struct, frozen=True):
    """`defaults` are set where a request has no such member; `overrides` are merged into it as RFC 7396 has it."""

    defaults: dict[str, Any]
    overrides: dict[str, Any]

    @classmethod
    def of(cls, defaults: dict[str, Any], overrides: dict[str, Any]) -> "Adjust | None":
        """None if nothing changes, so that requests pass untouched."""
        return cls(defaults, overrides) if defaults or overrides else None

    def apply(self, body: bytes) -> bytes:
        """The changed request. Members that no setting names are the bytes they were, in their order."""
        members: dict[str, Any] = _fields.decode(body)
        for name, value in self.defaults.items():
            members[name] = _defaulted(_plain(members, name, value), value) if name in members else value
        for name, value in self.overrides.items():
            merged = _merged(_plain(members, name, value), value)
            if merged is None:
                members.pop(name, None)
            else:
                members[name] = merged
        return _encode(members)


def _plain(members: Mapping[str, Any], name: str, value: object) -> Any:  # noqa: ANN401 - JSON is anything
    """The member that is there: decoded only if it must be looked into."""
    there = members.get(name)
    return _anything.decode(there) if isinstance(there, Raw) and isinstance(value, dict) else there


def _defaulted(there: Any, value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    if not (isinstance(there, dict) and isinstance(value, dict)):
        return there
    return {**there, **{name: _defaulted(there[name], v) if name in there else v for name, v in value.items()}}


def _merged(there: Any, value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    if not isinstance(value, dict):
        return value
    kept = dict(there) if isinstance(there, dict) else {}
    for name, v in value.items():
        if v is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), v)
    return kept
