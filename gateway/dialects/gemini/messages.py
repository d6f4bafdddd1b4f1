"""Contents and parts of requests, both directions.

Source: https://ai.google.dev/api/caching#Content
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import (
    SIGNATURE_MARK,
    AnyPart,
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Origin,
    Reasoning,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
    unwrap_signature,
    wrap_signature,
)
from gateway.dialects.gemini.calls import paired
from gateway.dialects.gemini.wire import BROKEN, ENCODER, NAME, compact, invalid, items, members, plain, text, value

BYPASS = "skip_thought_signature_validator"
"""What Gemini 3 and later take in place of a signature on a call that another model made.
Source: https://ai.google.dev/gemini-api/docs/thought-signatures"""

_NO_SIGNATURES = ("", BYPASS, "context_engineering_is_the_way_to_go")
_ROLES: dict[str, Role] = {"user": "user", "function": "user", "": "user", "model": "assistant"}
_BESIDE = {"thought", "thoughtSignature", "partMetadata"}
_NOT_CARRIED = {"videoMetadata", "mediaResolution", "mediaProcessing", "speechMetadata"}
_MARK = SIGNATURE_MARK.decode()


class _Content(msgspec.Struct):
    role: str | None = None
    parts: list[Raw] | None = None


_CONTENT = msgspec.json.Decoder(_Content)


def contents(raw: Raw | bytes) -> tuple[bytes, ...]:
    """The contents member as a list of messages, neighbours of the model joined.

    A lone content, a part or a string counts as a list of one. Google's own chat keeps a streamed reply as one content
    for each of its events; together they are the one message that the model said.
    """
    joined: list[bytes] = []
    model = False
    for item in separate(raw):
        last, model = model, b"model" in item and _opened(item, "contents")[0] == "assistant"
        if last and model:
            joined[-1] = _join(joined[-1], item)
        else:
            joined.append(item)
    return tuple(joined)


def separate(raw: Raw | bytes) -> list[bytes]:
    """The contents member as a list of contents, as they were sent."""
    return [_content_object(item) for item in items(raw, "contents")]


def _content_object(raw: Raw) -> bytes:
    item = bytes(raw).strip()
    return ENCODER.encode({"role": "user", "parts": [{"text": raw}]}) if item.startswith(b'"') else item


def _join(first: bytes, second: bytes) -> bytes:
    parts = [part for item in (first, second) for part in _opened(item, "contents")[1]]
    return ENCODER.encode({"role": "model", "parts": parts})


def _opened(raw: Raw | bytes, where: str) -> tuple[Role, list[Raw]]:
    """Who speaks, and the parts."""
    try:
        content = _CONTENT.decode(raw)
        name, parts = content.role or "", content.parts
    except BROKEN:  # or as the API takes it, too
        parts = None
    if parts is None:
        found = members(raw, where)
        name, parts = text(found, "role", where), _parts(found, where)
    role = _ROLES.get(name)
    if role is None:
        raise invalid(f"{where}.role", "`user` or `model`")
    return role, parts


def _parts(found: dict[str, Raw], where: str) -> list[Raw]:
    if "parts" in found:
        return items(found["parts"], f"{where}.parts")
    return [Raw(ENCODER.encode(found))] if found.keys() - {"role"} else []


# ---------------------------------------------------------------- decoding

_URL_SAFE = str.maketrans("-_", "+/")


def decode_messages(messages: Sequence[bytes], origin: Origin | None = None) -> tuple[Message, ...]:
    """Messages from their JSON: one each, but for pieces of one reply or of one set of tool results."""
    return read_messages(messages, origin, set())


def read_messages(messages: Sequence[bytes], origin: Origin | None, lost: set[str]) -> tuple[Message, ...]:
    """The same; `lost` gets the names of what only Gemini knows."""
    decoded: list[Message] = []
    for i, raw in enumerate(messages):
        message = _message(raw, f"contents[{i}]", origin, lost)
        if decoded and _continues(decoded[-1], message):
            decoded[-1] = Message(message.role, decoded[-1].parts + message.parts)
        elif message.parts:
            decoded.append(message)
    folded = [Message(each.role, fold(each.parts)) if each.role == "assistant" else each for each in decoded]
    return paired(folded)


def _continues(last: Message, message: Message) -> bool:
    if message.role == "assistant":
        return last.role == "assistant"
    return last.role == message.role and all(isinstance(part, ToolResult) for part in last.parts + message.parts)


def _message(raw: bytes, where: str, origin: Origin | None, lost: set[str]) -> Message:
    role, raws = _opened(raw, where)
    parts = [decode_part(part, f"{where}.parts[{i}]", origin, lost) for i, part in enumerate(raws)]
    ordered = [part for part in parts if part is not None]
    if role == "user":
        ordered.sort(key=lambda part: not isinstance(part, ToolResult))
    return Message(role, tuple(ordered))


def fold(parts: Sequence[AnyPart]) -> tuple[AnyPart, ...]:
    """A reply's pieces as parts: text goes on until it is signed, and so does thinking."""
    folded: list[AnyPart] = []
    for part in parts:
        last = folded[-1] if folded else None
        match last, part:
            case Text(text=before, signature=None), Text(text=words):
                folded[-1] = replace(part, text=before + words)
            case Reasoning(text=before, signature=None), Reasoning(text=words, redacted=False):
                folded[-1] = replace(part, text=before + words)
            case _:
                folded.append(part)
    return tuple(folded)


def decode_part(raw: Raw | bytes, where: str, origin: Origin | None, lost: set[str]) -> AnyPart | None:
    """One part; None where it says nothing."""
    found = members(raw, where)
    if len(found) == 1 and "text" in found:
        words = text(found, "text", where)
        return Text(words) if words else None
    return _part(found, where, origin, lost)


def _part(found: dict[str, Raw], where: str, origin: Origin | None, lost: set[str]) -> AnyPart | None:
    if not _NOT_CARRIED.isdisjoint(found):
        lost.update(f"contents.parts.{name}" for name in _NOT_CARRIED & found.keys())
    signature = _signature(text(found, "thoughtSignature", where), origin)
    if "functionCall" in found:
        return _call(found["functionCall"], f"{where}.functionCall", signature)
    if "functionResponse" in found:
        return _result(found["functionResponse"], f"{where}.functionResponse", lost)
    if "inlineData" in found or "fileData" in found:
        return _blob(found, where)
    if "text" not in found and (kinds := sorted(found.keys() - _BESIDE - _NOT_CARRIED)):
        return Opaque(NAME, kinds[0], _opaque(found, signature))
    words = text(found, "text", where)
    if "thought" in found and value(found["thought"], bool, f"{where}.thought"):
        return _reasoning(words, signature, found)
    return Text(words, signature) if words or signature else None


def _signature(value_: str, origin: Origin | None) -> Signature | None:
    if value_ in _NO_SIGNATURES:
        return None
    if value_.startswith(_MARK):  # Google's SDK sends bytes back in base64's other alphabet
        value_ = value_.replace("-", "+").replace("_", "/")
    return unwrap_signature(value_, NAME, origin)


def _reasoning(words: str, signature: Signature | None, found: dict[str, Raw]) -> Reasoning | None:
    """Thinking; what a foreign reply's thinking was beyond its text is in the part's metadata (see replies)."""
    own = signature is None or signature.dialect == NAME
    thought = Reasoning(words, signature, summary=own)
    try:
        note = msgspec.json.decode(found.get("partMetadata", b"{}"), type=Note).gateway
        thought = replace(thought, redacted=note.redacted, summary=own or note.summary, id=note.id)
    except BROKEN:
        pass  # metadata of the client's own
    return thought if words or signature else None


class Mine(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the gateway notes on a part that shows foreign thinking."""

    redacted: bool = False
    summary: bool = False
    id: str = ""


class Note(msgspec.Struct):
    """A part's `partMetadata`, as far as it is the gateway's."""

    gateway: Mine = Mine()


def _call(raw: Raw, where: str, signature: Signature | None) -> ToolCall:
    found = members(raw, where)
    name = text(found, "name", where)
    if not name:
        raise invalid(f"{where}.name", "a string")
    arguments = plain(found["args"], f"{where}.args") if "args" in found else "{}"
    return ToolCall(text(found, "id", where), name, arguments, signature=signature)


def _result(raw: Raw, where: str, lost: set[str]) -> ToolResult:
    found = members(raw, where)
    lost.update(f"contents.parts.functionResponse.{name}" for name in ("willContinue", "scheduling") if name in found)
    words, failed = _output(found["response"], f"{where}.response") if "response" in found else ("", False)
    content: list[AnyPart] = [Text(words)] if words else []
    for i, part in enumerate(items(found["parts"], f"{where}.parts") if "parts" in found else ()):
        media = decode_part(part, f"{where}.parts[{i}]", None, lost)
        content += [media] if media is not None else []
    return ToolResult(text(found, "id", where), tuple(content), text(found, "name", where), is_error=failed)


def _output(response: Raw, where: str) -> tuple[str, bool]:
    """What a tool answered and whether that is an error: a lone `output`, `result` or `error`, else all as JSON."""
    try:
        found = msgspec.json.decode(response, type=dict[str, Raw])
        if len(found) == 1 and not found.keys().isdisjoint(("output", "result", "error")):
            return msgspec.json.decode(next(iter(found.values())), type=str), "error" in found
    except BROKEN:
        pass
    return plain(response, where), False


def _blob(found: dict[str, Raw], where: str) -> AnyPart:
    name = "inlineData" if "inlineData" in found else "fileData"
    where = f"{where}.{name}"
    blob = members(found[name], where)
    data, uri = text(blob, "data", where), text(blob, "fileUri", where)
    media_type = text(blob, "mimeType", where)
    if not data and not uri:
        raise invalid(f"{where}.{'data' if name == 'inlineData' else 'fileUri'}", "a string")
    place = {"data": _standard(data)} if data else {"file_id": uri} if _is_stored(uri) else {"url": uri}
    match media_type.split("/")[0]:
        case "image":
            return Image(media_type=media_type, **place)
        case "audio":
            return Audio(media_type=media_type, **place)
        case _:
            return File(media_type=media_type, name=text(blob, "displayName", where), **place)


def _standard(data: str) -> str:
    """Base64 in the letters that every vendor reads: Google's SDK writes the URL-safe ones, and padding is optional."""
    if "-" in data or "_" in data:
        data = data.translate(_URL_SAFE)
    return data + "=" * (-len(data) % 4)


def _is_stored(uri: str) -> bool:
    """Whether only Google can read it: the Files API or a bucket."""
    return uri.startswith(("gs://", "files/")) or ("generativelanguage" in uri and "/files/" in uri)


def _opaque(found: dict[str, Raw], signature: Signature | None) -> Raw:
    """The part's JSON, its signature wrapped so that it is known whose it is."""
    part: dict[str, Any] = {name: Raw(compact(each)) for name, each in found.items()}
    if signature is not None:
        part["thoughtSignature"] = wrap_signature(signature)
    return Raw(ENCODER.encode(part))


# ---------------------------------------------------------------- system


def decode_system(system: Sequence[bytes]) -> tuple[AnyPart, ...]:
    """A system instruction: a content, a part or a string."""
    found: list[AnyPart] = []
    for raw in system:
        where = "systemInstruction"
        instruction = members(_content_object(Raw(raw)), where)
        parts = [decode_part(part, where, None, set()) for part in _parts(instruction, where)]
        found += [part for part in parts if part is not None]
    return tuple(found)


def encode_system(system: Sequence[AnyPart]) -> tuple[bytes, ...]:
    """One content with the texts; Gemini takes nothing else there."""
    texts = [{"text": part.text} for part in system if isinstance(part, Text) and part.text]
    return (ENCODER.encode({"parts": texts}),) if texts else ()
