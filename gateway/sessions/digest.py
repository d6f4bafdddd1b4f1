"""Digests of messages: equal for what every dialect can express, whatever said it (rule S5).

Role, text trimmed outside, tool names and arguments, tool results and media count. Ids, cache marks, signatures
and reasoning do not, since clients drop or change them.
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from gateway.conversation import AnyPart, Blob, Message, Refusal, Text, ToolCall, ToolResult

_ENCODER = msgspec.json.Encoder(order="sorted")
_WORDS = (Text, Refusal)
SIZE = 16


class Digests:
    """Digests under keys of up to 64 bytes: whoever has none of them cannot try out what was said.

    The first key makes digests, all are recognised, and so are those made without any key.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = (*keys, b"")

    @property
    def keyed(self) -> bool:
        """Whether digests are made with a key."""
        return bool(self._keys[0])

    def of(self, messages: Sequence[Message]) -> bytes:
        """16 bytes for messages that stand together: one side of a turn."""
        return _keyed(_content(messages), self._keys[0])

    def all(self, messages: Sequence[Message]) -> tuple[bytes, ...]:
        """Every digest that these messages may have been stored with; the first is `of` them."""
        content = _content(messages)
        return tuple([_keyed(content, key) for key in self._keys])


PLAIN = Digests()
"""Digests without a key."""


def digest(messages: Sequence[Message]) -> bytes:
    """The digest without a key."""
    return PLAIN.of(messages)


def _keyed(content: bytes, key: bytes) -> bytes:
    return blake2b(content, key=key, digest_size=SIZE).digest()


def _content(messages: Sequence[Message]) -> bytes:
    if len(messages) == 1 and len(parts := messages[0].parts) == 1 and isinstance(only := parts[0], _WORDS):
        text = only.text.strip()  # what most sides of a turn are
        return _ENCODER.encode(({messages[0].role: text} if text else {}, ()))
    said: dict[str, str] = {}
    rest: list[object] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, _WORDS):
                said[message.role] = said.get(message.role, "") + part.text
            elif (essence := _essence(part)) is not None:
                rest.append(essence)
    texts = {role: stripped for role, text in said.items() if (stripped := text.strip())}
    return _ENCODER.encode((texts, rest))


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
