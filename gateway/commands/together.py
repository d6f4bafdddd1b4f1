"""Replies as few writes: uvicorn writes head and body apart, and a write is a good part of what an exchange costs."""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.api.outlet import LEFT


class Together:
    """A transport that writes at once what it is given in one round of the loop; all else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        """Goes out in this round, behind what was written before."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Close once all that was written is out."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            if not self._transport.is_closing():
                self._transport.write(data)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, over such a transport; the application may ask at any time whether the client has left."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {LEFT: self.transport.is_closing}  # type: ignore[dict-item] # any, by ASGI

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", Together(transport, self.loop)))
