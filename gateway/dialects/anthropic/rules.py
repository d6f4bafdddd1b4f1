"""What the vendor demands of a conversation as a whole, once history and prompt are one list of messages."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from gateway.dialects.anthropic.blocks import text_block
from gateway.dialects.anthropic.models import Abilities
from gateway.dialects.anthropic.wire import encode

_OPENING = "(The conversation begins.)"
_GO_ON = "Continue."


class _Block(Struct):
    type: str
    name: object = None


class _Message(Struct):
    role: str
    content: str | list[_Block]

    @property
    def blocks(self) -> list[_Block]:
        return [_Block("text")] if isinstance(self.content, str) else self.content


_MESSAGE = Decoder(_Message)
_USER = b'{"role":"user",'


def whole(messages: Sequence[bytes], abilities: Abilities, dropped: set[str]) -> list[bytes]:
    """The messages with a user's in front, and at the end where the model takes no prefill."""
    complete = list(messages)
    if not complete or _role(complete[0]) != "user":
        complete.insert(0, _user_says(_OPENING))
    if is_prefill(complete):
        if abilities.prefill:
            complete[-1] = _trimmed(complete[-1])
        else:
            dropped.add("messages.prefill")
            complete.append(_user_says(_GO_ON))
    return complete


def is_prefill(messages: Sequence[bytes]) -> bool:
    """Whether the assistant has begun to answer already."""
    return _role(messages[-1]) == "assistant"


def _role(message: bytes) -> str:
    """Who speaks; mostly it is a user, and the message one of ours."""
    return "user" if message.startswith(_USER) else _MESSAGE.decode(message).role


def in_unthought_loop(messages: Sequence[bytes]) -> bool:
    """Whether the last message answers calls that were made without thinking, or by someone else's.

    With a thinking budget the vendor demands that the calls' message begins with a thinking block.
    """
    if not any(block.type == "tool_result" for block in _MESSAGE.decode(messages[-1]).blocks):
        return False
    said = (_MESSAGE.decode(message) for message in reversed(messages))
    last = next((message for message in said if message.role == "assistant"), None)
    if last is None or not last.blocks:
        return False
    return last.blocks[0].type not in ("thinking", "redacted_thinking")


def called_tools(messages: Sequence[bytes]) -> list[Raw]:
    """A bare tool for each name that was called: a conversation with calls must come with tools."""
    calling = [message for message in messages if b'"tool_use"' in message]
    if not calling:
        return []
    names = dict.fromkeys(_names(calling))
    schema = {"type": "object", "properties": dict[str, str]()}
    return [Raw(encode({"name": name, "input_schema": schema})) for name in names]


def _names(messages: Sequence[bytes]) -> Iterator[object]:
    for message in messages:
        yield from (block.name for block in _MESSAGE.decode(message).blocks if block.type == "tool_use")


def _user_says(text: str) -> bytes:
    return encode({"role": "user", "content": [text_block(text)]})


def _trimmed(message: bytes) -> bytes:
    """A prefill without white space at its end, which the vendor refuses."""
    tree = msgspec.json.decode(message)
    last = tree["content"] if isinstance(tree["content"], list) else [text_block(tree["content"])]
    text = last[-1].get("text", "")
    if text == text.rstrip():
        return message
    last[-1]["text"] = text.rstrip()
    return encode({"role": "assistant", "content": last})
