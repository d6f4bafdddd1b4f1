"""What a reply to a client is made of, whole or streamed: its items, and the response object around them."""

from typing import Any

from msgspec import Raw

from gateway.conversation import Image, Reasoning, Signature, Stop, Text, ToolCall, Usage
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_responses.items import PHASE, PREVIOUS, REDACTED, reasoning_item, shown
from gateway.dialects.openai_responses.tools import Known
from gateway.dialects.openai_responses.upstream import ENCRYPTED
from gateway.dialects.openai_responses.wire import ANYTHING, NAME, dump, is_text, json, present

_ECHOED = {
    name: Raw(default)
    for name, default in {
        "background": b"false", "error": b"null", "incomplete_details": b"null", "instructions": b"null",
        "max_output_tokens": b"null", "max_tool_calls": b"null", "model": b"", "output": b"",
        "parallel_tool_calls": b"true", "previous_response_id": b"null", "prompt_cache_key": b"null",
        "reasoning": b'{"effort":null,"summary":null}', "safety_identifier": b"null", "service_tier": b'"default"',
        "store": b"true", "temperature": b"1.0", "text": b"", "tool_choice": b'"auto"', "tools": b"[]",
        "top_logprobs": b"0", "top_p": b"1.0", "truncation": b'"disabled"', "usage": b"null", "user": b"null",
        "metadata": b"{}", "presence_penalty": b"0.0", "frequency_penalty": b"0.0", "completed_at": b"null",
    }.items()
}  # fmt: skip
_OURS = {"completed_at", "background", "error", "incomplete_details", "model", "output", "usage", "text"}
_PLAIN: dict[str, object] = {"format": {"type": "text"}}
_AUTO = Raw(b'"auto"')
_ASKED = _ECHOED.keys() - _OURS


def response_object(head: ReplyHead) -> dict[str, Any]:
    """The response object before anything is said: the request's parameters as the vendor echoes them."""
    fields = head.request.fields
    response: dict[str, Any] = {
        "id": f"resp_{head.id}",
        "object": "response",
        "created_at": head.created,
        "status": "in_progress",
        **_ECHOED,
        **{name: asked for name, asked in fields.items() if name in _ASKED and present(asked)},
    }
    if response["service_tier"] == _AUTO:
        response["service_tier"] = _ECHOED["service_tier"]
    response["model"], response["output"] = head.request.model, []
    response["text"] = _text(fields["text"]) if "text" in fields else _PLAIN
    if "tools" in fields:
        response["tools"] = _tools(response["tools"])
    conversation = fields.get("conversation")
    if conversation is not None and present(conversation):
        by_id = is_text(conversation)
        response["conversation"] = {"id": conversation} if by_id else conversation
    return response


def _tools(tools: Raw) -> Raw:
    """Function tools with all their members, as the vendor repeats them."""
    if b'"function"' not in bytes(tools):
        return tools
    whole = {"description": None, "parameters": None, "strict": None}
    asked = ANYTHING.decode(tools)
    if not isinstance(asked, list):
        return tools
    return json([{**tool, **whole, **tool} if _is_function(tool) else tool for tool in asked])


def _is_function(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function"


def _text(text: Raw) -> object:
    if not present(text):
        return _PLAIN
    return text if b'"format"' in bytes(text) else _PLAIN | ANYTHING.decode(text)


def ending(stop: Stop | None, *, refused: bool) -> tuple[str, dict[str, str] | None]:
    """Status and incomplete_details of a reply. A refusal without words can only be told as filtered."""
    match stop:
        case Stop.LENGTH | Stop.CONTEXT:
            return "incomplete", {"reason": "max_output_tokens"}
        case Stop.FILTERED:
            return "incomplete", {"reason": "content_filter"}
        case Stop.REFUSED if not refused:
            return "incomplete", {"reason": "content_filter"}
        case _:
            return "completed", None


def encode_usage(usage: Usage | None) -> dict[str, object] | None:
    """Token counts."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


class Maker:
    """Makes items with ids that are unique in the reply and outside it."""

    def __init__(self, head: ReplyHead, known: Known) -> None:
        self._head = head
        self._known = known
        fields = head.request.fields
        self._summarise = _asks_for_summary(fields.get("reasoning"))
        self._wants_encrypted = dump(ENCRYPTED) in bytes(fields.get("include", b""))

    def id(self, prefix: str, number: int) -> str:
        """The id of the item at `number`."""
        return f"{prefix}_{self._head.id}_{number}"

    def is_custom(self, call: ToolCall) -> bool:
        """Whether the client knows this tool as a custom one."""
        return call.custom or call.name in self._known.custom

    def as_summary(self, part: Reasoning) -> bool:
        """Where reasoning is shown: as a summary if it is one, or if the client asked for summaries."""
        return part.summary or self._summarise

    def message(self, number: int, content: list[dict[str, object]], status: str, phase: str = "") -> dict[str, object]:
        """A message of the assistant's."""
        item: dict[str, object] = {"type": "message", "id": self.id("msg", number), "status": status}
        return item | ({"phase": phase} if phase else {}) | {"role": "assistant", "content": content}

    def call(self, number: int, call: ToolCall, text: str, status: str) -> dict[str, object]:
        """A call with its arguments (or the input of a custom tool) so far."""
        custom = self.is_custom(call)
        namespace, name = self._known.split(call.name)
        item: dict[str, object] = {
            "type": "custom_tool_call" if custom else "function_call",
            "id": self.id("ctc" if custom else "fc", number),
            "status": status,
            "call_id": call.id or self.id("call", number),
            "name": name,
        }
        if namespace:
            item["namespace"] = namespace
        return item | {"input" if custom else "arguments": text}

    def reasoning(self, number: int, part: Reasoning) -> dict[str, object]:
        """Reasoning; its signature is the encrypted content."""
        encrypted = shown(part.signature) if part.signature else ""
        if part.redacted and encrypted:
            encrypted += REDACTED
        id = part.id or self.id("rs", number)
        return reasoning_item(id, part, as_summary=self.as_summary(part), encrypted=encrypted)

    def carrier(self, number: int, part: Text | ToolCall) -> dict[str, object] | None:
        """An item that carries what another vendor signed: there is no place for it in a call or a message.

        A call's must come back; a text's is only sent to a client that asked for encrypted content.
        """
        signature = part.signature
        if signature is None or signature.dialect == NAME or not (isinstance(part, ToolCall) or self._wants_encrypted):
            return None
        encrypted = shown(signature) + PREVIOUS
        return {"type": "reasoning", "id": self.id("rs", number), "summary": [], "encrypted_content": encrypted}

    def image(self, number: int, image: Image) -> dict[str, object] | None:
        """A picture that the model made, where it came as data."""
        if not image.data:
            return None
        item = {"type": "image_generation_call", "id": self.id("ig", number), "status": "completed"}
        return {**item, "result": image.data}


def _asks_for_summary(reasoning: Raw | None) -> bool:
    asked = ANYTHING.decode(reasoning) if reasoning is not None else None
    return isinstance(asked, dict) and bool(asked.get("summary") or asked.get("generate_summary"))


def phase_of(part: object) -> str:
    """The phase of the message that a text is of; "" for none."""
    match part:
        case Text(signature=Signature(value=value, dialect=dialect)) if dialect == NAME and value.startswith(PHASE):
            return value.removeprefix(PHASE)
        case _:
            return ""
