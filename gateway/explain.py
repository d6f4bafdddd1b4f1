"""A mistake that msgspec found in a tree of settings, for the person who made it: where it is, and what was meant."""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct

_ENTRY = "[...]"
"""What msgspec writes for any key of a mapping."""

Convert = Callable[[Any, Any], object]
"""A value to a type; raises ValidationError."""


def explain(error: msgspec.ValidationError, tree: object, kind: type[Struct], convert: Convert) -> str:
    """A message that names the key. `tree` was to become a `kind`."""
    message, path = _parted(error)
    place = dotted(_real(path, tree, kind, convert))
    unknown = re.search(r"unknown field `(.+)`", message)
    if unknown is None:
        return f"{place}: {message}" if place else message
    name = unknown[1]
    where = f"{place}.{name}" if place else name
    known = _fields(_kind_at(path, kind))
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}."
    return f"{where}: there is no such key; {hint}"


def dotted(path: str) -> str:
    """A path as people write it."""
    return path.removeprefix("$").removeprefix(".")


def _parted(error: msgspec.ValidationError) -> tuple[str, str]:
    message, _, path = str(error).partition(" - at `")
    return message, path.rstrip("`")


def _real(path: str, tree: Any, kind: Any, convert: Convert) -> str:  # noqa: ANN401 - a tree is anything
    """The path with the mapping's own keys: the first entry that is refused is the one that msgspec means."""
    before, entry, _ = path.partition(_ENTRY)
    if not entry:
        return path
    for step in _steps(before):
        tree = tree[int(step) if isinstance(tree, list) else step]
    inner = _step(_kind_at(before, kind), "")
    for key, value in tree.items():
        try:
            convert(value, inner)
        except msgspec.ValidationError as error:
            return f"{before}.{key}" + _real(_parted(error)[1], value, inner, convert).removeprefix("$")
    return path


def _steps(path: str) -> list[str]:
    return [name or place for name, place in re.findall(r"\.([^.\[\]]+)|\[([^\]]*)\]", path)]


def _kind_at(path: str, kind: Any) -> Any:  # noqa: ANN401 - types are values here
    for name, _ in re.findall(r"\.([^.\[\]]+)|\[([^\]]*)\]", path):
        kind = _step(kind, name)
    return kind


def _fields(kind: Any) -> list[str]:  # noqa: ANN401 - types are values here
    return sorted({name for struct in _structs(kind) for name in struct.__struct_fields__})


def _step(kind: Any, step: str) -> Any:  # noqa: ANN401 - types are values here
    for struct in _structs(kind):
        if step in struct.__struct_fields__:
            return get_type_hints(struct)[step]
    arguments = [argument for argument in get_args(kind) if argument not in (str, type(None), ...)]
    return arguments[-1] if arguments else kind


def _structs(kind: Any) -> Iterator[type[Struct]]:  # noqa: ANN401 - types are values here
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
    else:
        for argument in get_args(kind):
            yield from _structs(argument)
