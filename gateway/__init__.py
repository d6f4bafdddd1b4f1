"""An LLM gateway that remembers conversations."""

__version__ = "0.1.0"
