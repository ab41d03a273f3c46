"""The HTTP listener: uvicorn inside our own event loop and lifecycle, without its signal handlers."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from cordum.runtime.http import bind, bound_address
from cordum.runtime.settings import Address, GatewaySettings
from cordum.services.gateway.http_protocol import LimitedProtocol, Timeouts, sweep
from cordum.services.gateway.stream.protocol import MAX_INCOMING, StreamProtocol

SWEEP_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 10  # for requests under way when the server is closed
_BACKLOG: Final = 2048


def security_headers(settings: GatewaySettings) -> list[tuple[str, str]]:
    """What every answer carries, errors below HTTP included (spec-gateway section 2.2)."""
    headers = [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ]
    if settings.production:
        headers.append(("Strict-Transport-Security", f"max-age={settings.hsts_max_age}; includeSubDomains"))
    return headers


class _Server(uvicorn.Server):
    """Signals are the lifecycle's; and there is a moment to wait for."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class HttpServer:
    """Serves an ASGI application on the gateway's address."""

    def __init__(self, application: Any, settings: GatewaySettings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._timeouts = Timeouts(
            read=settings.http_read_timeout, write=settings.http_write_timeout, idle=settings.http_idle_timeout
        )
        self._server = _Server(
            uvicorn.Config(
                application,
                loop="none",
                http=LimitedProtocol,
                ws=StreamProtocol,
                ws_max_size=MAX_INCOMING,
                ws_ping_interval=settings.ws_ping_interval,
                ws_ping_timeout=settings.ws_pong_timeout,
                # Compressing every event for every client would cost more than the bytes.
                ws_per_message_deflate=False,
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                # Who believes X-Forwarded-For, and from whom, is ours to say: CORDUM_TRUSTED_PROXIES.
                proxy_headers=False,
                server_header=False,
                date_header=True,
                headers=security_headers(settings),
                backlog=_BACKLOG,
                timeout_keep_alive=int(settings.http_idle_timeout) or 1,
                timeout_graceful_shutdown=CLOSE_SECONDS,
                ssl_context_factory=None if tls is None else lambda config, default: tls,
            )
        )
        self._tasks: list[asyncio.Task[Any]] = []
        self.address: Address = settings.http_addr
        """Where it listens; the port is the real one once started."""

    async def start(self) -> None:
        """Listens from here on; raises AddressInUseError or CannotListenError."""
        listener = bind(self._settings.http_addr, purpose="GATEWAY_HTTP_ADDR")
        self.address = bound_address(listener)
        self._tasks = [asyncio.create_task(self._server.serve(sockets=[listener]), name="http-server")]
        await self._server.listening.wait()
        self._tasks.append(asyncio.create_task(self._sweep(), name="http-sweep"))

    async def aclose(self) -> None:
        """Takes no new connections, lets open requests finish within CLOSE_SECONDS."""
        if not self._tasks:
            return
        serving, sweeping = self._tasks
        self._server.should_exit = True
        await serving
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        self._tasks = []

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            sweep(self._server.server_state.connections, loop.time(), self._timeouts)
