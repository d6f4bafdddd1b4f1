"""Digests of messages: equal for what every dialect can express, whatever said it (rule S5).

Role, text trimmed outside, tool names and arguments, tool results and media count. Ids, cache marks, signatures
and reasoning do not, since clients drop or change them.
"""

from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from gateway.conversation import AnyPart, Blob, Message, Refusal, Text, ToolCall, ToolResult

_ENCODER = msgspec.json.Encoder(order="sorted")
SIZE = 16


def digest(messages: Iterable[Message]) -> bytes:
    """16 bytes for messages that stand together: one side of a turn."""
    said: dict[str, str] = {}
    rest: list[object] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text | Refusal):
                said[message.role] = said.get(message.role, "") + part.text
            elif (essence := _essence(part)) is not None:
                rest.append(essence)
    texts = {role: text.strip() for role, text in said.items() if text.strip()}
    return blake2b(_ENCODER.encode((texts, rest)), digest_size=SIZE).digest()


def _essence(part: AnyPart) -> object:
    match part:
        case ToolCall(name=name, arguments=arguments):
            return ("call", name, _canonical(arguments))
        case ToolResult(content=content):
            texts = "".join(inner.text for inner in content if isinstance(inner, Text))
            return ("result", texts.strip(), [_media(inner) for inner in content if isinstance(inner, Blob)])
        case Blob():
            return ("media", _media(part))
        case _:
            return None


def _canonical(arguments: str) -> object:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments.strip()


def _media(blob: Blob) -> str:
    return blob.data or blob.url or blob.file_id
