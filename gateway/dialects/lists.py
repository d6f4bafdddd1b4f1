"""A long list in a request's body: a history may be megabytes long, and is sent from where it lies in memory."""

from collections.abc import Sequence
from typing import TypeAlias

Payload: TypeAlias = bytes | tuple[bytes, ...]
"""A request's body, whole or in pieces that follow one another."""


def joined(body: Payload) -> bytes:
    """The whole body, for who must look at it or change it."""
    return b"".join(body) if isinstance(body, tuple) else body


def occurrences(body: Payload, mark: bytes) -> int:
    """How often `mark` is in it, which lies within one message."""
    return sum([piece.count(mark) for piece in body]) if isinstance(body, tuple) else body.count(mark)


def ended(body: Payload, ending: bytes) -> Payload:
    """The same with another last byte: `ending`."""
    return (*body[:-1], body[-1][:-1] + ending) if isinstance(body, tuple) else body[:-1] + ending


def with_list(
    fields: bytes, name: bytes, *, front: bytes = b"", told: Sequence[bytes] = (), own: bytes = b""
) -> Payload:
    """The JSON object `fields` with one more member: a list of what is in `front`, `told` and `own`.

    `front` and `own` are items separated by commas; behind each of the items of `told` is a comma. They are not copied.
    """
    opening = b'%b,"%b":[' if len(fields) > len(b"{}") else b'%b"%b":['
    begin = opening % (fields[:-1], name) + front
    if front and (told or own):
        begin += b","
    if not told:
        return b"".join((begin, own, b"]}"))
    if not own:
        told, own = told[:-1], told[-1][:-1]
    return (begin, *told, own + b"]}")
