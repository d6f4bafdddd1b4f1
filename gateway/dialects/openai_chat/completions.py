"""Legacy completions, as a client's dialect: the prompt is a user's only message, the text is the reply.

Only clients speak it: a provider is asked as for a chat. No session knows it.
Source: https://platform.openai.com/docs/api-reference/completions
"""

from typing import Any

import msgspec
from msgspec import Raw

from gateway.conversation import Begin, Delta, End, Event, PartBegin, Prompt, Reply, Spent, Stop, Stopped, Text
from gateway.dialects import openai_chat
from gateway.dialects.dialect import Counting, ReplyHead, Request
from gateway.dialects.openai_chat.replies import encode_stop, encode_usage
from gateway.dialects.openai_chat.requests import wants_usage
from gateway.dialects.openai_chat.wire import encode, invalid, read, to_fields
from gateway.dialects.sse import frame
from gateway.errors import GatewayError

NAME = "openai_completions"
JOINABLE = True
FORWARDED_HEADERS = frozenset[str]()
COUNTING: Counting | None = None

_to_prompt = msgspec.json.Decoder(str | list[str])

spoken = openai_chat.spoken
splice = openai_chat.splice
encode_prompt = openai_chat.encode_prompt
decode_messages = openai_chat.decode_messages
encode_messages = openai_chat.encode_messages
decode_system = openai_chat.decode_system
encode_system = openai_chat.encode_system
decode_tools = openai_chat.decode_tools
encode_tools = openai_chat.encode_tools
decode_reply = openai_chat.decode_reply
reply_decoder = openai_chat.reply_decoder
decode_error = openai_chat.decode_error
encode_error = openai_chat.encode_error
path = openai_chat.path
cache_hint = openai_chat.cache_hint
auth = openai_chat.auth


def open_request(body: bytes, *, model: str = "", stream: bool = False, query: str = "") -> Request:
    """The request as one for a chat. Raises GatewayError (INVALID) for a prompt of tokens, or of several texts."""
    try:
        fields = to_fields.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise invalid(f"The body is not a JSON object: {error}.", "body") from error
    prompt = fields.pop("prompt", None)
    if prompt is None:
        raise invalid("prompt is missing: it is a text.", "prompt")
    given = read(_to_prompt, prompt, "prompt")
    texts = [given] if isinstance(given, str) else given
    if len(texts) != 1:
        raise invalid("prompt: one text at a time.", "prompt")
    fields["messages"] = Raw(encode([{"role": "user", "content": texts[0]}]))
    request = openai_chat.open_request(encode(fields), model=model, stream=stream, query=query)
    return Request(NAME, request.fields, request.model, request.stream, query)


def decode_prompt(request: Request) -> Prompt:
    """The prompt in neutral form; `echo`, `suffix`, `best_of` and `logprobs` have none."""
    return openai_chat.decode_prompt(request)


def relay_filter(request: Request) -> None:
    """Nothing is passed on verbatim: no provider speaks this."""


def encode_reply(reply: Reply, head: ReplyHead) -> bytes:
    """A whole completion."""
    text = "".join(part.text for part in reply.parts if isinstance(part, Text))
    body = _completion(head, reply.model) | {"choices": [_choice(text, reply.stop or Stop.END)]}
    return encode(body | ({} if reply.usage is None else {"usage": encode_usage(reply.usage)}))


def _completion(head: ReplyHead, model: str) -> dict[str, Any]:
    model = model or head.request.model
    return {"id": f"cmpl-{head.id}", "object": "text_completion", "created": head.created, "model": model}


def _choice(text: str, stop: Stop | None) -> dict[str, Any]:
    reason = None
    if stop is not None:
        reason = encode_stop(stop, legacy=False, refusal=False)
        reason = "stop" if reason == "tool_calls" else reason
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


class ReplyEncoder:
    """Encodes one streamed reply as chunks of text."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._base = _completion(head, "")
        self._counts = wants_usage(head.request)
        self._texts: set[int] = set()
        self._usage: dict[str, Any] | None = None

    def encode(self, event: Event) -> bytes:
        match event:
            case Begin(model=model) if model:
                self._base["model"] = model
            case PartBegin(index, Text(text=text)):
                self._texts.add(index)
                return self._chunk(text) if text else b""
            case Delta(index, text) if index in self._texts:
                return self._chunk(text)
            case Stopped(stop):
                return self._chunk("", stop)
            case Spent(usage):
                self._usage = encode_usage(usage)
            case End():
                return self._end()
        return b""

    def error(self, error: GatewayError) -> bytes:
        return frame(encode_error(error, ""))

    def _chunk(self, text: str, stop: Stop | None = None) -> bytes:
        return frame(encode(self._base | {"choices": [_choice(text, stop)]}))

    def _end(self) -> bytes:
        usage = frame(encode(self._base | {"choices": [], "usage": self._usage})) if self._counts else b""
        return usage + frame(b"[DONE]")


def reply_encoder(head: ReplyHead) -> ReplyEncoder:
    """For one streamed reply to a client."""
    return ReplyEncoder(head)
