"""The small HTTP server beside a process's real work: metrics and probes.

`/metrics` for Prometheus; `/livez` has the process started, `/healthz` is it sane, `/readyz` can it work right now;
`/health` the same as `/readyz`, under the guide's name and with a status per dependency.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import uvicorn

from cordum.core.errors import CordumError
from cordum.runtime import metrics
from cordum.runtime.health import OK, Health, Verdict
from cordum.runtime.settings import Address

_BACKLOG: Final = 1024
_MAX_CONNECTIONS: Final = 128
_KEEP_ALIVE: Final = 30  # seconds an idle connection stays open; Prometheus scrapes every 15 or 30
_STOP_GRACE: Final = 1  # seconds for answers under way when the server is closed

_JSON: Final = "application/json"


class AddressInUseError(CordumError):
    """Another process listens on the address."""

    code = "address_in_use"


class CannotListenError(CordumError):
    """The address cannot be listened on."""

    code = "cannot_listen"


def bind(address: Address, *, purpose: str) -> socket.socket:
    """A listening TCP socket, not blocking.

    Args:
        address: where; every interface when it has no host, IPv6 included where the machine has it.
        purpose: what for, in a word or two, for the error message.

    Raises:
        AddressInUseError: somebody else listens there.
        CannotListenError: the host is not this machine's, or the port is not ours to use.
    """
    family = socket.AF_INET6 if ":" in address.host or (not address.host and _dual_stack()) else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if address.host else 0)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(f"{purpose}: another process listens on {address}") from error
        raise CannotListenError(f"{purpose}: cannot listen on {address}: {error.strerror or error}") from error
    return listener


def _dual_stack() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def bound_address(listener: socket.socket) -> Address:
    """Where a socket listens; tells the port where any was asked for."""
    host, port = listener.getsockname()[:2]
    return Address("" if host in ("0.0.0.0", "::") else host, port)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers (they are the lifecycle's), and with a moment to wait for."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class OpsServer:
    """Serves metrics and probes on an address of its own."""

    def __init__(self, address: Address, *, service: str, health: Health) -> None:
        self._wanted = address
        self._service = service
        self._health = health
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._bound: Address | None = None

    @property
    def address(self) -> Address:
        """Where it listens; the address asked for until it has started."""
        return self._bound or self._wanted

    async def start(self) -> None:
        """Listens from here on.

        Raises:
            AddressInUseError: somebody else listens there.
            CannotListenError: the address cannot be listened on.
        """
        listener = bind(self._wanted, purpose="metrics and health")
        self._bound = bound_address(listener)
        self._server = _Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                backlog=_BACKLOG,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=_STOP_GRACE,
            )
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="ops-server")
        await self._server.listening.wait()

    async def aclose(self) -> None:
        """Stops listening and ends what is under way, within about a second."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        await self._serving
        self._server = self._serving = None

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        match scope["path"] if scope["method"] in ("GET", "HEAD") else None:
            case None:
                await _send(send, 405, _problem("method not allowed", "method_not_allowed", 405), _JSON)
            case "/metrics":
                body, content_type = metrics.exposition(self._service)
                await _send(send, 200, body, content_type)
            case "/livez":
                await _probe(send, self._health.startup())
            case "/healthz":
                await _probe(send, self._health.liveness())
            case "/readyz":
                await _probe(send, await self._health.readiness())
            case "/health":
                verdict = await self._health.readiness()
                await _send(send, 200 if verdict.ok else 503, msgspec.json.encode(health_body(verdict)), _JSON)
            case _:
                await _send(send, 404, _problem("not found", "not_found", 404), _JSON)


def health_body(verdict: Verdict) -> dict[str, object]:
    """What `/health` tells: an object per dependency with its status, and the status of all together."""
    parts: dict[str, object] = {
        name: {"status": OK} if text == OK else {"status": "error", "error": text}
        for name, text in verdict.checks.items()
    }
    return {"status": OK if verdict.ok else "degraded"} | parts


def probe_body(verdict: Verdict) -> dict[str, object]:
    """What `/livez`, `/healthz` and `/readyz` tell."""
    return {"status": OK if verdict.ok else "degraded", "checks": verdict.checks}


async def _probe(send: Any, verdict: Verdict) -> None:
    await _send(send, 200 if verdict.ok else 503, msgspec.json.encode(probe_body(verdict)), _JSON)


def _problem(error: str, code: str, status: int) -> bytes:
    return msgspec.json.encode({"error": error, "code": code, "status": status})


async def _send(send: Any, status: int, body: bytes, content_type: str) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
