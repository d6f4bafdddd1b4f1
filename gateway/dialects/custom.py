"""Custom tools (OpenAI) take free text; every other dialect knows them as functions with one string member `input`."""

import msgspec


def custom_input(arguments: str) -> str:
    """The text for a custom tool, out of the arguments that it had as a function of another vendor's."""
    try:
        found = msgspec.json.decode(arguments)
    except ValueError:
        return arguments
    return found["input"] if isinstance(found, dict) and isinstance(found.get("input"), str) else arguments
