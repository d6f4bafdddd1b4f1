"""A TCP proxy that can be slow, silent, cut, and pointed at another server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

Chunks = asyncio.Queue[tuple[float, bytes]]


class Proxy:
    """Between somebody and the server at `upstream`, a port of this machine; new connections go where it points then.

    `delay`: seconds that everything is under way, in either direction. `swallow`: nothing arrives any more, not even
    what is under way.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.delay = 0.0
        self.swallow = False
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.reset()

    def reset(self) -> None:
        """Break every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, here = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, here}
        with suppress(asyncio.CancelledError):  # the end of the test
            await asyncio.gather(self._pass(reader, here), self._pass(there, writer))
        self._writers -= {writer, here}

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        chunks = Chunks()
        await asyncio.gather(self._take(source, chunks), self._give(chunks, sink))

    async def _take(self, source: asyncio.StreamReader, chunks: Chunks) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                chunks.put_nowait((asyncio.get_running_loop().time() + self.delay, data))
        chunks.put_nowait((0.0, b""))

    async def _give(self, chunks: Chunks, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while (chunk := await chunks.get())[1]:
                if (rest := chunk[0] - asyncio.get_running_loop().time()) > 0:
                    await asyncio.sleep(rest)
                if not self.swallow:
                    sink.write(chunk[1])
                    await sink.drain()
        sink.close()
