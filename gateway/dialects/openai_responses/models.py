"""What the vendor's models are known to refuse, by name; of any other name nothing is assumed."""

import re

_REASONING = re.compile(r"(.*/)?(o\d|gpt-[5-9]|codex)")
_PLAIN = re.compile(r"(.*/)?(gpt-3|gpt-4|chatgpt)")


def reasons(model: str) -> bool | None:
    """Whether the model reasons: then it gives encrypted reasoning and takes no temperature. None: not known.

    A model that does not reason answers 400 to `reasoning` and to `include: ["reasoning.encrypted_content"]`.
    """
    if _PLAIN.match(model) or (_REASONING.match(model) and "-chat" in model):
        return False
    return True if _REASONING.match(model) else None
