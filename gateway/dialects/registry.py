"""Every dialect by name. A new one is a package with the verbs of `dialect.Dialect`, and its name here."""

from gateway.dialects import anthropic, gemini, openai_chat, openai_responses
from gateway.dialects.dialect import Dialect

_MODULES: tuple[Dialect, ...] = (openai_chat, openai_responses, anthropic, gemini)

DIALECTS: dict[str, Dialect] = {module.NAME: module for module in _MODULES}
