"""What model names say about the members a server accepts.

OpenAI's reasoning models refuse what every other server of this dialect wants, and the other way round; the name is
all there is to tell them apart, also behind Azure, OpenRouter and other gateways.
"""

import re
from functools import lru_cache

from gateway.conversation import Effort

_REASONING = re.compile(r"(?:^|/)o[1-9](?:$|[-:])|(?:^|[/_.-])gpt-?(?:[5-9]|[12]\d)(?:$|[^0-9a-z])|(?:^|/)chat-latest$")
_OPENAI = re.compile(r"(?:^|[/_.-])(?:gpt-?\d|chatgpt-)")
_NO_EFFORT = re.compile(r"(?:^|[/_.-])(?:gpt-?[34]|chatgpt-)|gpt-[5-9][0-9.]*-chat|(?:^|/)chat-latest$")
_FIRST_GPT_5 = re.compile(r"gpt-?5(?:$|[^.0-9])")


@lru_cache(maxsize=256)
def is_reasoning(model: str) -> bool:
    """OpenAI's o-series and GPT-5 and later.

    They refuse `max_tokens` ("Use 'max_completion_tokens' instead"), and sampling parameters and `stop` while they
    reason. The others are sent `max_tokens`, though OpenAI calls it deprecated: its older models still take it, Mistral
    refuses `max_completion_tokens`, and Ollama and LM Studio ignore it.
    """
    return _REASONING.search(model.lower()) is not None


@lru_cache(maxsize=256)
def is_openai(model: str) -> bool:
    """A model of OpenAI's, whose servers know `prompt_cache_key`; strict servers refuse an unknown member."""
    return is_reasoning(model) or _OPENAI.search(model.lower()) is not None


@lru_cache(maxsize=256)
def efforts(model: str) -> tuple[Effort, ...]:
    """The values of `reasoning_effort` that are safe to send; none for a model that does not reason."""
    name = model.lower()
    if _NO_EFFORT.search(name):
        return ()
    if not is_reasoning(name):
        return ("low", "medium", "high")  # what compatible servers have in common
    if _FIRST_GPT_5.search(name):
        return ("minimal", "low", "medium", "high")
    if "gpt" not in name:
        return ("low", "medium", "high")
    return ("none", "minimal", "low", "medium", "high", "xhigh", "max")
