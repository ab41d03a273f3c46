"""Stands between a service and its server, to count or to withhold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cordum.embedded.ports import free_port


class Relay:
    """Passes bytes on to a server and back.

    Everything a connection sends until the server answers it is one round trip; `trips` keeps what each asked.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.target = 0
        self.trips: list[bytes] = []
        self.withholds = b""
        """Set, it is what the server never gets to see: with it the client falls silent for good."""
        self.withheld = asyncio.Event()
        self.open = asyncio.Event()
        """Cleared, nothing gets through in either direction; what was sent meanwhile arrives when it is set again."""
        self.open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Relay"]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            self._server.close()
            for writer in list(self._writers):
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, back_writer}
        asked = bytearray()

        async def there() -> None:
            while data := await reader.read(65536):
                if self.withholds and self.withholds in data:
                    self.withholds = b""
                    self.withheld.set()
                    break
                asked.extend(data)
                await self.open.wait()
                back_writer.write(data)
                await back_writer.drain()
            back_writer.close()

        async def back() -> None:
            while data := await back_reader.read(65536):
                if asked:
                    self.trips.append(bytes(asked))
                    asked.clear()
                await self.open.wait()
                writer.write(data)
                await writer.drain()
            writer.close()

        try:
            await asyncio.gather(there(), back(), return_exceptions=True)
        finally:
            self._writers -= {writer, back_writer}
