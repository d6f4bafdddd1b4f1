"""Bodies that come compressed although `accept-encoding: identity` was asked for."""

import zlib
from collections.abc import AsyncIterator
from typing import Protocol

import httpx
import zstandard

from gateway.transport.connection import Fields


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def encoding_of(fields: Fields) -> str:
    """The one content encoding that has to be undone, or "": several, or unknown ones, are left to the reader."""
    for name, value in fields:
        if name.lower() == b"content-encoding":
            found = value.strip().lower().decode("latin-1")
            return found if found in ("gzip", "x-gzip", "deflate", "zstd") else ""
    return ""


def without_encoding(fields: Fields) -> Fields:
    """The headers that are true of the decoded body."""
    return [(k, v) for k, v in fields if k.lower() not in (b"content-encoding", b"content-length")]


class Decoded(httpx.AsyncByteStream):
    """A body with its content encoding undone.

    Raises DecodingError for data that is damaged, or that does not end where the body ends.
    """

    def __init__(self, body: httpx.AsyncByteStream, encoding: str) -> None:
        self._body = body
        self._encoding = encoding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        inflater: _Inflater | None = None
        async for data in self._body:
            try:
                inflater = inflater or _inflater(self._encoding, data)
                plain = inflater.decompress(data)
            except (zlib.error, zstandard.ZstdError) as error:
                await self.aclose()
                raise httpx.DecodingError(f"The server's {self._encoding} data is damaged.") from error
            if plain:
                yield plain
        if inflater is not None and (inflater.unused_data or not inflater.eof):
            raise httpx.DecodingError(f"The server's {self._encoding} data does not end where its body ends.")

    async def aclose(self) -> None:
        await self._body.aclose()


def _inflater(encoding: str, start: bytes) -> _Inflater:
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    if encoding == "deflate":  # with zlib's header as RFC 9110 says, or without as many do
        return zlib.decompressobj(zlib.MAX_WBITS if start[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)
    return zlib.decompressobj(zlib.MAX_WBITS | 16)
