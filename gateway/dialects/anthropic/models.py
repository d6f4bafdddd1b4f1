"""What the vendor's models accept, by the version in their names; one place to edit when a new one appears.

Sources: https://platform.claude.com/docs/en/about-claude/models/overview, .../build-with-claude/thinking,
.../build-with-claude/effort, .../build-with-claude/structured-outputs and the migration guide of each model.
"""

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from gateway.conversation import Effort

_LEVELS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")
_LEVELS_OF_4_6: tuple[Effort, ...] = ("low", "medium", "high", "max")
_FAMILIES = ("opus", "sonnet", "haiku", "fable", "mythos", "instant")
_NEWEST = (5, 5)
_DIGITS = 2  # more of them are a date
_TOKEN = re.compile(r"[a-z]+|\d+")


class Abilities(Struct, frozen=True, kw_only=True):
    """What a model takes.

    `limit`: the most `max_tokens` it accepts, 0 if unknown; `default`: what is asked for where a client says nothing.
    `adaptive`: thinking is adaptive with an effort of `efforts`; otherwise it has a budget. `always`: it cannot be
    turned off. `off`: the type of thinking that turns it off, "" where it is off unless asked for.
    `sampling`: takes temperature and its kin. `both`: temperature and top_p together. `forced`: a tool may be forced.
    `prefill`: the last message may be the assistant's. `formats`: constrains output to a schema.
    """

    limit: int = 0
    default: int = 8192
    thinks: bool = True
    adaptive: bool = False
    always: bool = False
    off: Literal["", "disabled", "between_tools"] = ""
    efforts: tuple[Effort, ...] = ()
    sampling: bool = True
    both: bool = True
    forced: bool = True
    prefill: bool = True
    formats: bool = False


@lru_cache(maxsize=256)
def abilities_of(model: str) -> Abilities:
    """The abilities of a model by its name, with or without a cloud's prefix; a foreign name gets the plainest."""
    name = model.lower()
    if "claude" not in name:
        return Abilities()
    family, version = _parse(name.rpartition("claude")[2])
    always = family in ("fable", "mythos") or (family == "opus" and version >= (5, 5))
    limit = _limit(family, version)
    return Abilities(
        limit=limit,
        default=limit if version >= (4, 5) else min(limit, 32_000),
        thinks=version >= (3, 7),
        adaptive=version >= (4, 6),
        always=always,
        off=_off(family, version),
        efforts=() if version < (4, 6) else _LEVELS_OF_4_6 if version == (4, 6) else _LEVELS,
        sampling=version <= (4, 6),
        both=version < (4, 1),
        forced=not (always and version > (5, 0)),
        prefill=version < (4, 6),
        formats=version >= (4, 5) or (family, version) == ("opus", (4, 1)),
    )


def _parse(name: str) -> tuple[str, tuple[int, int]]:
    """Family and version; the numbers come before or after the family, a date or a cloud's suffix ends them."""
    family, numbers = "", list[int]()
    for token in _TOKEN.findall(name):
        if token in _FAMILIES:
            family = token
        elif token.isdigit() and len(token) <= _DIGITS and len(numbers) < len(_NEWEST):
            numbers.append(int(token))
        elif numbers:
            break
    if not numbers:
        return family, _NEWEST
    return family, (numbers[0], numbers[1] if len(numbers) > 1 else 0)


def _limit(family: str, version: tuple[int, int]) -> int:
    if version >= (4, 6):
        return 128_000
    if family == "opus" and (4, 0) <= version < (4, 5):
        return 32_000
    if version >= (3, 7):
        return 64_000
    return 8192 if version >= (3, 5) else 4096


def _off(family: str, version: tuple[int, int]) -> Literal["", "disabled", "between_tools"]:
    if version < (5, 0):
        return ""
    return "between_tools" if family == "sonnet" and version >= (5, 5) else "disabled"
