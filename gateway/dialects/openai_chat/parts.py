"""The items of a message's content, both ways."""

from typing import Any

from msgspec import Raw

from gateway.conversation import AnyPart, Audio, Blob, File, Image, Opaque, Reasoning, Refusal, Text
from gateway.dialects.openai_chat.wire import (
    NAME,
    ContentPart,
    FileFile,
    ImageUrl,
    InputAudio,
    invalid,
    is_given,
    read,
    to_part,
    to_raws,
    without_nones,
)

_AUDIO_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
}


def decode_content(content: str | list[Raw] | None, param: str) -> list[AnyPart]:
    """The content of the message `param`: text, or a list of items."""
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [decode_part(raw, f"{param}.content[{i}]") for i, raw in enumerate(content or ())]


def decode_part(raw: Raw, param: str) -> AnyPart:
    """One item."""
    part = read(to_part, raw, param)
    match part:
        case ContentPart(type="text" | "input_text" | "output_text", text=str(text)):
            return Text(text)
        case ContentPart(type="refusal", refusal=str(text)):
            return Refusal(text)
        case ContentPart(type="thinking"):
            return Reasoning(text=_thinking(part.thinking))
        case ContentPart(type="text" | "refusal" | "image_url" | "input_audio" | "file" as kind):
            blob = _decode_blob(part)
            if blob is None:
                raise invalid(f"{param} is of type {kind} and has nothing of it.", param)
            return blob
    return Opaque(dialect=NAME, kind=part.type, raw=Raw(bytes(raw)))


def _decode_blob(part: ContentPart) -> Image | Audio | File | None:
    match part:
        case ContentPart(type="image_url", image_url=ImageUrl() | str() as image):
            return decode_image(image)
        case ContentPart(type="input_audio", input_audio=InputAudio(data=data, format=kind)):
            return Audio(media_type=f"audio/{kind}", data=data)
        case ContentPart(type="file", file=FileFile() as file):
            return _decode_file(file)
    return None


def decode_image(image: ImageUrl | str) -> Image:
    """An image by address or in a `data:` URL."""
    if isinstance(image, str):
        image = ImageUrl(image)
    media_type, data = split_data_url(image.url)
    return Image(media_type=media_type, data=data, url="" if data else image.url, detail=image.detail or "")


def split_data_url(url: str) -> tuple[str, str]:
    """The media type and the base64 of a `data:` URL; two empty strings for any other."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return "", ""
    return head[5:-7].partition(";")[0], data


def _decode_file(file: FileFile) -> File:
    name, data = file.filename or "", file.file_data or ""
    if file.file_id:
        return File(file_id=file.file_id, name=name)
    if data.startswith(("http://", "https://")):  # OpenRouter takes an address here
        return File(url=data, name=name)
    media_type, content = split_data_url(data)
    if not content:  # base64 alone
        media_type = "application/pdf" if name.lower().endswith(".pdf") else ""
        content = data
    return File(media_type=media_type, data=content, name=name)


def _thinking(raw: Raw) -> str:
    """The text in Mistral's `thinking` item, which is a list of text items."""
    if not is_given(raw):
        return ""
    items = read(to_raws, raw, "thinking")
    return "".join(read(to_part, item, "thinking").text or "" for item in items)


def encode_content(parts: list[AnyPart], dropped: set[str]) -> list[Any]:
    """The items of a user's or a system message."""
    items = (encode_part(part, dropped) for part in parts)
    return [item for item in items if item is not None]


def encode_part(part: AnyPart, dropped: set[str]) -> Any:  # noqa: ANN401 - a JSON value
    """One item; None, and a name in `dropped`, for what Chat has no item for."""
    match part:
        case Text(text=text) | Refusal(text=text):
            return {"type": "text", "text": text}
        case Image() | File() | Audio():
            item = _encode_blob(part)
            if item is None:
                dropped.add(f"content.{_place(part)}")
            return item
        case Opaque(dialect=dialect, raw=raw) if dialect == NAME:
            return raw
        case Opaque(kind=kind):
            dropped.add(f"content.opaque:{kind}")
        case Reasoning():
            dropped.add("reasoning")
        case _:  # calls and results have places of their own
            dropped.add("content")
    return None


def _place(part: Blob) -> str:
    kind = type(part).__name__.lower()
    return f"{kind}.{'file_id' if part.file_id else 'url'}"


def _encode_blob(part: Image | File | Audio) -> dict[str, Any] | None:
    match part:
        case Image(file_id=""):
            return {"type": "image_url", "image_url": image_url(part)}
        case Audio(data=data) if data:
            kind = _AUDIO_FORMATS.get(part.media_type, part.media_type.removeprefix("audio/"))
            return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
        case File(file_id=file_id) if file_id:
            return {"type": "file", "file": {"file_id": file_id}}
        case File(data=data) if data:
            # A name is demanded with data; OpenAI tells the kind of file by it.
            name = part.name or ("document.pdf" if part.media_type == "application/pdf" else "document.txt")
            url = f"data:{part.media_type or 'application/pdf'};base64,{data}"
            return {"type": "file", "file": {"filename": name, "file_data": url}}
    return None


def image_url(part: Image) -> dict[str, Any]:
    """The `image_url` object."""
    url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
    return without_nones(url=url, detail=part.detail or None)
