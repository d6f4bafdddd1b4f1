"""A request's body: read up to a limit, unpacked up to the same limit (feature A9)."""

import zlib
from collections.abc import Mapping

import zstandard
from litestar.types import Receive

from gateway.errors import GatewayError, Kind


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The decoded body. Raises GatewayError: TOO_LARGE, INVALID, CLIENT_CLOSED."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body, more = await _piece(receive)
    if more:
        body = await _rest(receive, body, limit)
    if len(body) > limit:
        raise _too_large(limit)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    plain = body if encoding == "identity" else _unpack(body, encoding, limit)
    if not plain.isascii():
        _refuse_other_text(plain)
    return plain


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise GatewayError(Kind.CLIENT_CLOSED, "The client closed the connection.")
    return message["body"], message["more_body"]


async def _rest(receive: Receive, first: bytes, limit: int) -> bytes:
    parts, size, more = [first], len(first), True
    while more:
        piece, more = await _piece(receive)
        parts.append(piece)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
    return b"".join(parts)


def _unpack(body: bytes, encoding: str, limit: int) -> bytes:
    try:
        match encoding:
            case "gzip" | "x-gzip":
                unpacker = zlib.decompressobj(wbits=31)
                plain = unpacker.decompress(body, limit + 1)
                complete = unpacker.eof or len(plain) > limit
            case "zstd":
                reader = zstandard.ZstdDecompressor(max_window_size=max(limit, 1 << 23)).stream_reader(body)
                plain, complete = reader.read(limit + 1), True
            case _:
                message = f"Content-Encoding {encoding[:32]!r} is not supported; send gzip, zstd or none."
                raise GatewayError(Kind.INVALID, message, param="content-encoding")
    except (zlib.error, zstandard.ZstdError):
        complete, plain = False, b""
    if not complete:
        raise GatewayError(Kind.INVALID, f"The body is not valid {encoding}.", param="content-encoding")
    if len(plain) > limit:
        raise _too_large(limit)
    return plain


def _refuse_other_text(body: bytes) -> None:
    """JSON is UTF-8 (RFC 8259); what is not would be stored as it is, and could not be read again."""
    try:
        str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError(Kind.INVALID, f"The body is not UTF-8 at byte {error.start}.", param="body") from None


def _too_large(limit: int) -> GatewayError:
    return GatewayError(Kind.TOO_LARGE, f"The request is larger than {limit} bytes (server.max_body).")
