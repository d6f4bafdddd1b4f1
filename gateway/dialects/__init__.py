"""The wire formats that clients and providers speak, and where each one is registered."""

from gateway.dialects import anthropic, openai_chat
from gateway.dialects.dialect import Dialect

_MODULES: tuple[Dialect, ...] = (openai_chat, anthropic)

DIALECTS: dict[str, Dialect] = {module.NAME: module for module in _MODULES}
"""Every dialect by name. A new one is a package with the verbs of `dialect.Dialect`, and a name here."""
