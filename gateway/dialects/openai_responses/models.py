"""What the vendor's models are known to refuse, by name; of any other name nothing is assumed.

Source: https://platform.openai.com/docs/guides/reasoning and the error texts of the API.
"""

import re
from functools import lru_cache
from typing import get_args

from gateway.conversation import Effort

_REASONING = re.compile(r"(.*/)?(o\d|gpt-[5-9]|codex)")
_PLAIN = re.compile(r"(.*/)?(gpt-3|gpt-4|chatgpt)")
_GENERATION = re.compile(r"(?:.*/)?gpt-(\d+)(?:\.(\d+))?(.*)", re.DOTALL)

_ALL: tuple[Effort, ...] = get_args(Effort)
_USUAL: tuple[Effort, ...] = ("low", "medium", "high")


@lru_cache(maxsize=256)
def reasons(model: str) -> bool | None:
    """Whether the model reasons: then it gives encrypted reasoning and takes no temperature. None: not known.

    A model that does not reason answers 400 to `reasoning` and to `include: ["reasoning.encrypted_content"]`.
    """
    if _PLAIN.match(model) or (_REASONING.match(model) and "-chat" in model):
        return False
    return True if _REASONING.match(model) else None


@lru_cache(maxsize=256)
def efforts(model: str) -> tuple[Effort, ...]:
    """The efforts that the model accepts; it answers 400 to any other."""
    if re.match(r"(.*/)?o\d", model):
        return _USUAL
    match = _GENERATION.match(model)
    if match is None:
        return _ALL
    version, variant = (int(match[1]), int(match[2] or 0)), match[3]
    if "-pro" in variant:
        return ("high",) if version == (5, 0) else ("medium", "high", "xhigh")
    lowest: tuple[Effort, ...] = ("minimal",) if version == (5, 0) else ("none",)
    if "codex" in variant:
        lowest = ()
    return (*lowest, *_USUAL, *_highest(version, variant))


def _highest(version: tuple[int, int], variant: str) -> tuple[Effort, ...]:
    if version >= (5, 6):
        return ("xhigh", "max")
    return ("xhigh",) if version >= (5, 2) or "codex-max" in variant else ()
