"""What operators do to sessions in Redis: patches, and sessions written whole."""

from collections.abc import Iterator, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from gateway.sessions import codec
from gateway.sessions.store import FORMAT, Head, Patch, Session, SessionKey

STAGED = 60_000
"""Milliseconds after which a session that was half written is forgotten."""

_CHUNK = 256 << 10
_FIELDS = 600

Field = str | bytes | float


def patch_arguments(patch: Patch) -> list[Field]:
    """ARGV of patch.lua."""
    pin = "keep" if patch.pin is UNSET else "drop" if patch.pin is None else "set"
    return [
        FORMAT,
        patch.generation or "",
        "" if patch.keep is None else int(patch.keep * 1000),
        pin,
        codec.encode(patch.pin) if patch.pin else b"",
        b"" if patch.context is None else bytes(patch.context),
        patch.drop_last,
    ]


def fields_of(key: SessionKey, session: Session, generation: str) -> Iterator[Sequence[Field]]:
    """The fields of a session's hash, in pieces that keep Redis for a moment only."""
    piece: list[Field] = []
    size = total = 0
    for number in range(session.head.first, session.head.next):
        given = session.turns[number]
        turn, mark = codec.encode_turn(replace(given, at=0), session.marks[number])
        piece += (f"t:{number}", turn, f"d:{number}", b"%013d\0" % given.at + mark)
        size, total = size + len(turn), total + len(turn)
        if size > _CHUNK or len(piece) > _FIELDS:
            yield piece
            piece, size = [], 0
    yield [*piece, *_head(key, session.head, generation, total)]


def _head(key: SessionKey, head: Head, generation: str, size: int) -> Iterator[Field]:
    usage, totals = head.totals.usage, head.totals
    fields: dict[str, Field | None] = {
        "v": FORMAT,
        "gen": generation,
        "owner": key.owner,
        "user": key.user,
        "id": key.id,
        "created": head.created,
        "updated": head.updated,
        "rev": head.next - head.first,
        "first": head.first,
        "next": head.next,
        "size": size,
        "cut": head.cut or None,
        "resends": int(head.resends) or None,
        "system": codec.encode(head.system) if head.system else None,
        "preamble": codec.encode(head.preamble) if head.preamble else None,
        "tools": codec.encode(head.tools) if head.tools else None,
        "pin": codec.encode(head.pin) if head.pin else None,
        "last": codec.encode(head.last) if head.last else None,
        "context": bytes(head.context),
        "hold": head.kept or None,
        "kept": head.kept or None,
        "turns": totals.turns,
        "messages": totals.messages,
        "cost": repr(totals.cost),
        "unpriced": totals.unpriced or None,
        "input": usage.input,
        "output": usage.output,
        "cached": usage.cached,
        "written": usage.cache_write,
        "reasoning": usage.reasoning,
    }
    for name, value in fields.items():
        if value is not None:
            yield from (name, value)
