"""Images and documents, both directions.

Source: https://platform.claude.com/docs/en/build-with-claude/vision and .../pdf-support
"""

from base64 import b64decode, b64encode
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import Blob, File, Image, Opaque
from gateway.dialects.anthropic.wire import NAME, DocumentBlock, ImageBlock, read

_IMAGE = Decoder(ImageBlock)
_DOCUMENT = Decoder(DocumentBlock)
_SOURCES = ("base64", "url", "file")
_MAGIC = (("/9j/", "image/jpeg"), ("R0lG", "image/gif"), ("UklGR", "image/webp"))
_PDF = "application/pdf"


def read_image(raw: Raw, where: str) -> Image | Opaque:
    """An image; one from a source that is not known stays as it is."""
    source = read(_IMAGE, raw, where).source
    if source.type not in _SOURCES:
        return Opaque(dialect=NAME, kind="image", raw=raw)
    return Image(media_type=source.media_type, data=source.data, url=source.url, file_id=source.file_id)


def read_document(raw: Raw, where: str, lost: set[str]) -> File | Opaque:
    """A document; plain text becomes base64 as any other file's content."""
    block = read(_DOCUMENT, raw, where)
    source = block.source
    lost |= {"document.context"} if block.context else set()
    lost |= {"document.citations"} if b"true" in bytes(block.citations) else set()
    name = block.title or ""
    if source.type == "text":
        data = b64encode(source.data.encode()).decode()
        return File(media_type=source.media_type or "text/plain", data=data, name=name)
    if source.type not in _SOURCES:
        return Opaque(dialect=NAME, kind="document", raw=raw)
    return File(media_type=source.media_type, data=source.data, url=source.url, file_id=source.file_id, name=name)


def image_block(part: Image, dropped: set[str]) -> dict[str, Any] | None:
    """An image block, or None if the vendor cannot get at the image."""
    if part.detail not in ("", "auto"):
        dropped.add("content.image.detail")
    source = _source(part, _image_type(part), dropped)
    return None if source is None else {"type": "image", "source": source}


def file_block(part: File, dropped: set[str]) -> dict[str, Any] | None:
    """A document block, or None: the vendor reads PDF and text."""
    media_type = _plain(part.media_type)
    if part.data and media_type.startswith("text/"):
        source = _text_source(part.data, dropped)
    elif part.data and media_type not in ("", _PDF):
        dropped.add(f"content.file:{media_type}")
        return None
    else:
        source = _source(part, _PDF, dropped)
    if source is None:
        return None
    return {"type": "document", "source": source, **({"title": part.name} if part.name else {})}


def _text_source(data: str, dropped: set[str]) -> dict[str, str] | None:
    try:
        text = b64decode(data).decode(errors="replace")
    except ValueError:
        dropped.add("content.file:not base64")
        return None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _source(part: Blob, media_type: str, dropped: set[str]) -> dict[str, str] | None:
    if part.data:
        return {"type": "base64", "media_type": media_type, "data": part.data}
    if part.url:
        return {"type": "url", "url": part.url}
    if part.file_id.startswith("file_"):  # another vendor's file has another kind of id, and is not there
        return {"type": "file", "file_id": part.file_id}
    dropped.add("content.file_id")
    return None


def _image_type(part: Image) -> str:
    media_type = _plain(part.media_type)
    if media_type == "image/jpg":
        return "image/jpeg"
    if media_type:
        return media_type
    return next((kind for magic, kind in _MAGIC if part.data.startswith(magic)), "image/png")


def _plain(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()
