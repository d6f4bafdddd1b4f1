"""Messages for a provider: what a Gemini model of a given generation takes."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gateway.conversation import (
    AnyPart,
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Signature,
    Text,
    ToolCall,
    ToolResult,
    unwrap_signature,
)
from gateway.dialects.dialect import EncodedMessages
from gateway.dialects.gemini.calls import arranged
from gateway.dialects.gemini.messages import BYPASS
from gateway.dialects.gemini.tools import function_call
from gateway.dialects.gemini.wire import ENCODER, NAME, generation

STRICT = 3
"""From this generation on calls must be signed and function responses may hold media."""

_BY_BASE64 = {
    "iVBOR": "image/png",
    "/9j/": "image/jpeg",
    "R0lG": "image/gif",
    "UklG": "image/webp",
    "JVBE": "application/pdf",
}
_BY_SUFFIX = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "heic": "image/heic", "pdf": "application/pdf", "txt": "text/plain", "html": "text/html", "csv": "text/csv",
    "mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "mp3": "audio/mp3", "wav": "audio/wav",
    "ogg": "audio/ogg", "flac": "audio/flac",
}  # fmt: skip


def encode_messages(messages: Sequence[Message], target: Origin) -> EncodedMessages:
    """Messages to contents with alternating roles; text of the system in mid-conversation is marked as such."""
    writer = _Writer(target)
    spoken = [_as_user(message) if message.role == "system" else message for message in messages]
    encoded = [writer.content(message) for message in arranged(spoken)]
    return EncodedMessages(tuple(each for each in encoded if each), tuple(sorted(writer.dropped)))


def _as_user(message: Message) -> Message:
    """Gemini has no role for it, and the user must not seem to have said it."""
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    return Message("user", (Text("<system>\n" + "\n".join(texts) + "\n</system>"),) if texts else ())


class _Writer:
    def __init__(self, target: Origin) -> None:
        self._target = target
        self._strict = generation(target.model) >= STRICT
        self._names: dict[str, str] = {}
        self.dropped: set[str] = set()

    def content(self, message: Message) -> bytes:
        """One content; empty if nothing is left of it."""
        parts: list[Any] = []
        beside: list[Any] = []
        signed = False
        for part in message.parts:
            if isinstance(part, ToolResult):
                parts.append(self._result(part, beside))
                continue
            encoded = self._part(part)
            if isinstance(part, ToolCall) and encoded is not None:
                self._names[part.id] = part.name
                if self._strict and not signed and "thoughtSignature" not in encoded:
                    encoded["thoughtSignature"] = BYPASS  # only the first of parallel calls is signed
                signed = True
            if encoded is not None:
                beside.append(encoded)
        parts += beside
        role = "model" if message.role == "assistant" else "user"
        return ENCODER.encode({"role": role, "parts": parts}) if parts else b""

    def _part(self, part: AnyPart) -> dict[str, Any] | None:
        found: dict[str, Any] | None = None
        match part:
            case Text(text=text, signature=signature):
                signed = self._signed(signature)
                found = {"text": text} | signed if text or signed else None
            case Refusal(text=text):
                found = {"text": text} if text else None
            case ToolCall():
                found = {"functionCall": function_call(part)} | self._signed(part.signature)
            case Reasoning(text=text, signature=signature):
                signed = self._signed(signature)
                found = {"text": text, "thought": True} | signed if signed else None
            case Image() | File() | Audio():
                found = self._blob(part)
            case Opaque():
                found = self._opaque(part)
            case ToolResult():
                pass  # content() does it
        return found

    def _signed(self, signature: Signature | None) -> dict[str, Any]:
        fits = signature is not None and signature.fits(NAME, self._target)
        return {"thoughtSignature": signature.value} if signature is not None and fits else {}

    def _opaque(self, part: Opaque) -> dict[str, Any] | None:
        if part.dialect != NAME:
            self.dropped.add(f"content.opaque:{part.kind}")
            return None
        return opaque_members(part, self._target)

    def _blob(self, part: Image | File | Audio) -> dict[str, Any] | None:
        if isinstance(part, Image) and part.detail not in ("", "auto"):
            self.dropped.add("content.image.detail")
        if isinstance(part, File) and part.name:
            self.dropped.add("content.file.name")
        if part.file_id and not part.file_id.startswith(("gs://", "files/", "https://")):
            self.dropped.add("content.file_id")  # another vendor's
            return None
        return blob(part)

    def _result(self, result: ToolResult, beside: list[Any]) -> dict[str, Any]:
        words = [part.text for part in result.content if isinstance(part, Text | Refusal)]
        media = [found for part in result.content if (found := self._media(part)) is not None]
        name = result.name or self._names.get(result.call_id) or result.call_id
        answer: dict[str, Any] = {
            "name": name,
            "response": {"error" if result.is_error else "output": "\n".join(words)},
        }
        if result.call_id:
            answer = {"id": result.call_id, **answer}
        if media and self._strict:
            answer["parts"] = media
        else:
            beside += media  # older models take media only beside the response
        return {"functionResponse": answer}

    def _media(self, part: AnyPart) -> dict[str, Any] | None:
        match part:
            case Image() | File() | Audio():
                return self._blob(part)
            case Text() | Refusal():
                return None
            case _:
                self.dropped.add(f"content.{part.__struct_config__.tag}")
                return None


def blob(part: Image | File | Audio) -> dict[str, Any]:
    """A part with media, its type guessed where it is not said, since Gemini insists on one."""
    if part.data:
        guess = next((kind for start, kind in _BY_BASE64.items() if part.data.startswith(start)), "")
        return {"inlineData": {"mimeType": part.media_type or guess or _DEFAULTS[type(part)], "data": part.data}}
    uri = part.url or part.file_id
    suffix = uri.partition("?")[0].rpartition(".")[2].lower()
    media_type = part.media_type or _BY_SUFFIX.get(suffix, "" if part.file_id else _DEFAULTS[type(part)])
    return {"fileData": {"mimeType": media_type, "fileUri": uri} if media_type else {"fileUri": uri}}


_DEFAULTS: dict[type, str] = {Image: "image/png", File: "application/pdf", Audio: "audio/wav"}


def opaque_members(part: Opaque, target: Origin | None) -> dict[str, Any]:
    """The members of a part of ours; its signature only for `target`, or for any client where that is None."""
    found: dict[str, Any] = dict(msgspec.json.decode(part.raw, type=dict[str, Raw]))
    wrapped = found.pop("thoughtSignature", None)
    if wrapped is not None:
        signature = unwrap_signature(msgspec.json.decode(wrapped, type=str), NAME)
        if target is None or signature.fits(NAME, target):
            found["thoughtSignature"] = signature.value
    return found
