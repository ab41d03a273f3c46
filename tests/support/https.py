"""A small HTTPS server for documents, redirects and worse; real sockets, real certificates."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType

Answer = Callable[[str], bytes | Awaitable[bytes]]


def response(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 answer, after which the connection ends; `content_type="x"` becomes the header `content-type`."""
    lines = [f"HTTP/1.1 {status} Some", "Connection: close"]
    if "transfer_encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class HttpsServer:
    """Serves what `answer` gives for a path; remembers what was asked, under which Host, and with which SNI name."""

    def __init__(self, answer: Answer, certificate: str = "", key: str = "", host: str = "127.0.0.1") -> None:
        """Without a certificate it speaks plain HTTP."""
        self.answer = answer
        self.paths: list[str] = []
        self.hosts: list[str] = []
        self.names: list[str | None] = []
        self.port = 0
        self._host = host
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate, key)
            self._context.sni_callback = self._named
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "HttpsServer":
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._context else 'http'}://{host}:{self.port}{path}"

    def _named(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        self.names.append(name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            self.paths.append(path)
            self.hosts += [line[6:].strip() for line in head.split("\r\n") if line.lower().startswith("host:")]
            answer = self.answer(path)
            writer.write(answer if isinstance(answer, bytes) else await answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
