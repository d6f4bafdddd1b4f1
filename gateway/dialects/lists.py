"""A long list in a request's body, with as few copies of it as can be: a history may be megabytes long."""

from collections.abc import Sequence


def with_list(fields: bytes, name: bytes, *, front: bytes = b"", told: Sequence[bytes] = (), own: bytes = b"") -> bytes:
    """The JSON object `fields` with one more member: a list of what is in `front`, `told` and `own`.

    `front` and `own` are items separated by commas; behind each of the items of `told` is a comma.
    """
    opening = b'%b,"%b":[' if len(fields) > len(b"{}") else b'%b"%b":['
    parts = [opening % (fields[:-1], name)]
    if front:
        parts.append(front + b"," if told or own else front)
    if told and not own:
        told, own = told[:-1], told[-1][:-1]
    return b"".join((*parts, *told, own, b"]}"))
