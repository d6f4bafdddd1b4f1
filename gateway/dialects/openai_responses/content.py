"""What stands inside a message or a tool's output: text, images, files."""

from collections.abc import Iterable

from msgspec import Raw

from gateway.conversation import AnyPart, Audio, File, Image, Opaque, Refusal, Text
from gateway.dialects.openai_responses.wire import (
    AUDIO_PART,
    FILE_PART,
    IMAGE_PART,
    ITEMS,
    NAME,
    REFUSAL_PART,
    TEXT,
    TEXT_PART,
    TYPED,
    dump,
    is_text,
    json,
    present,
)

INNER = "part:"
"""How the kind of an Opaque begins that stands inside a message; without it, it is an item of its own."""

_FILE_TYPES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv"}


def decode_content(raw: Raw) -> tuple[AnyPart, ...]:
    """A string or an array of parts. Raises one of UNREADABLE."""
    if not present(raw):
        return ()
    if is_text(raw):
        text = TEXT.decode(raw)
        return (Text(text),) if text else ()
    return tuple(decode_part(part) for part in ITEMS.decode(raw))


def decode_part(raw: Raw) -> AnyPart:
    """One part of an array; a type that is not known stays as it is. Raises one of UNREADABLE."""
    kind = TYPED.decode(raw).type or ""
    match kind:
        case "input_text" | "output_text" | "text":
            return Text(TEXT_PART.decode(raw).text)
        case "refusal":
            return Refusal(REFUSAL_PART.decode(raw).refusal)
        case "input_image":
            image = IMAGE_PART.decode(raw)
            detail = "" if image.detail == "auto" else image.detail or ""
            media_type, data, url = _opened(image.image_url or "")
            return Image(media_type=media_type, data=data, url=url, file_id=image.file_id or "", detail=detail)
        case "input_file":
            return _decode_file(raw)
        case "input_audio":
            sound = AUDIO_PART.decode(raw).input_audio
            return Audio(media_type=f"audio/{sound.format}", data=sound.data)
        case _:
            return Opaque(NAME, INNER + kind, Raw(bytes(raw)))


def _decode_file(raw: Raw) -> File:
    file = FILE_PART.decode(raw)
    name = file.filename or ""
    media_type, data, bare = _opened(file.file_data or "")
    if bare:  # base64 without the data: in front, which the vendor takes too
        media_type, data = _FILE_TYPES.get(name.rpartition(".")[2].lower(), ""), bare
    return File(media_type=media_type, data=data, url=file.file_url or "", file_id=file.file_id or "", name=name)


def _opened(url: str) -> tuple[str, str, str]:
    """Media type and base64 of a data URL; any other URL as it is."""
    if url.startswith("data:"):
        head, comma, data = url[5:].partition(",")
        if comma and head.endswith(";base64"):
            return head.removesuffix(";base64"), data, ""
    return "", "", url


def encode_parts(parts: Iterable[AnyPart], dropped: set[str]) -> list[Raw]:
    """Parts of a user's or system's message, or of a tool's output; what cannot be said is named in `dropped`."""
    return [raw for part in parts if (raw := _encode_part(part, dropped)) is not None]


def _encode_part(part: AnyPart, dropped: set[str]) -> Raw | None:
    match part:
        case Text(text=text) | Refusal(text=text):
            return json({"type": "input_text", "text": text})
        case Image():
            return json(_encode_image(part))
        case File():
            return json(_encode_file(part))
        case Opaque(dialect=dialect, kind=kind, raw=raw) if dialect == NAME and kind.startswith(INNER):
            return raw
        case Opaque(kind=kind):
            dropped.add(f"content.opaque:{kind}")
        case _:
            dropped.add(f"content.{type(part).__struct_config__.tag}")
    return None


def _encode_image(image: Image) -> dict[str, str]:
    wire = {"type": "input_image", "detail": image.detail or "auto"}
    if image.file_id:
        return wire | {"file_id": image.file_id}
    return wire | {"image_url": _data_url(image.media_type or "image/png", image.data) if image.data else image.url}


def _encode_file(file: File) -> dict[str, str]:
    wire = {"type": "input_file"}
    if file.file_id:
        return wire | {"file_id": file.file_id}
    if file.url:
        return wire | {"file_url": file.url}  # an address has its own name
    media_type = file.media_type or "application/pdf"
    extension = next((end for end, known in _FILE_TYPES.items() if known == media_type), "bin")
    return wire | {"filename": file.name or f"file.{extension}", "file_data": _data_url(media_type, file.data)}


def _data_url(media_type: str, data: str) -> str:
    return f"data:{media_type};base64,{data}"


def encode_output(parts: tuple[AnyPart, ...], dropped: set[str]) -> Raw:
    """What a tool answered: a string where it is text alone, else an array."""
    match parts:
        case ():
            return Raw(b'""')
        case (Text(text=text),):
            return json(text)
        case _:
            return Raw(dump(encode_parts(parts, dropped)))
