"""The gRPC server as every service starts it: keepalive, health, reflection when asked for, TLS with reload."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

import grpc
import msgspec
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection as grpc_reflection

from cordum.core.errors import CordumError

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message a server takes; a batch of decisions is cut below it by our client."""


class ServerStartError(CordumError):
    """The gRPC server could not be started."""

    code = "grpc_server_start_failed"


class Service(msgspec.Struct, frozen=True):
    """One gRPC service: its full name (`cordum.v1.CordumApi`) and how it is added to a server.

    `register` is typically `lambda server: api_pb2_grpc.add_CordumApiServicer_to_server(servicer, server)`.
    """

    name: str
    register: Callable[[grpc.aio.Server], None]


class ServerTls(msgspec.Struct, frozen=True):
    """PEM texts of the server; with `client_ca` every client must show a certificate it signed."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None

    @classmethod
    def from_files(cls, certificate: str | Path, key: str | Path, client_ca: str | Path | None = None) -> "ServerTls":
        """Reads the files; raises ServerStartError naming the one that cannot be read."""
        texts = [_read(path) for path in (certificate, key)]
        return cls(texts[0], texts[1], _read(client_ca) if client_ca else None)


class Keepalive(msgspec.Struct, frozen=True, kw_only=True):
    """How long connections live and how often peers are asked whether they do (spec-safety section 2); seconds."""

    max_age: float = 7200.0
    max_age_grace: float = 30.0
    ping_every: float = 30.0
    ping_timeout: float = 10.0
    min_client_ping: float = 15.0


DEFAULT_KEEPALIVE = Keepalive()


class HealthServicer(Protocol):
    """What we use of `grpc_health.v1.health.aio.HealthServicer`."""

    async def set(self, service: str, status: int) -> None: ...
    async def enter_graceful_shutdown(self) -> None: ...


class RpcServer:
    """A running server. Made by `start_server`."""

    def __init__(
        self,
        server: grpc.aio.Server,
        address: str,
        health: HealthServicer,
        names: Sequence[str],
        certificates: "_Certificates | None",
    ) -> None:
        self.address = address
        """`host:port` as bound; the port is the real one when 0 was asked for."""
        self._server = server
        self._health = health
        self._names = names
        self._certificates = certificates

    @property
    def port(self) -> int:
        """The bound TCP port."""
        return int(self.address.rpartition(":")[2])

    async def set_serving(self) -> None:
        """Health answers SERVING for the server and each of its services."""
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def set_not_serving(self) -> None:
        """Health answers NOT_SERVING; calls are still served."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    def use_certificate(self, certificate: bytes, key: bytes) -> None:
        """New connections get this pair (PEM); those that exist keep theirs. Without TLS nothing happens."""
        if self._certificates is not None:
            self._certificates.replace(certificate, key)

    async def aclose(self, grace: float = 10.0) -> None:
        """Takes no new calls, gives those that run `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def _set_health(self, status: int) -> None:
        for name in ("", *self._names):
            await self._health.set(name, status)


async def start_server(
    address: str,
    services: Sequence[Service],
    *,
    tls: ServerTls | None = None,
    health: HealthServicer | None = None,
    reflection: bool = False,
    keepalive: Keepalive = DEFAULT_KEEPALIVE,
) -> RpcServer:
    """Binds `address` (`host:port`, `:port`; port 0 picks one) and serves; health says SERVING when this returns.

    `grpc.health.v1.Health` is always there and asks for no credentials. Raises ServerStartError when the address
    cannot be bound or the certificate cannot be used.
    """
    server = grpc.aio.server(options=_options(keepalive))
    for service in services:
        service.register(server)
    names = [service.name for service in services]
    servicer = health or _new_health()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if reflection:
        grpc_reflection.enable_server_reflection(
            [*names, grpc_health.SERVICE_NAME, grpc_reflection.SERVICE_NAME], server
        )
    certificates = None if tls is None else _Certificates(tls)
    host, _, port = address.rpartition(":")
    bind = f"{host or '[::]'}:{port}"
    try:
        if certificates is None:
            bound = server.add_insecure_port(bind)
        else:
            bound = server.add_secure_port(bind, certificates.credentials())
    except RuntimeError as error:
        await server.stop(None)
        raise ServerStartError(f"cannot listen for gRPC on {address}: {error}") from error
    await server.start()
    running = RpcServer(server, f"{host or '0.0.0.0'}:{bound}", servicer, names, certificates)
    await running.set_serving()
    return running


def _new_health() -> HealthServicer:
    servicer: HealthServicer = grpc_health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in the stubs
    return servicer


class _Certificates:
    """Hands gRPC the newest pair at each handshake; gRPC asks from threads of its own."""

    def __init__(self, tls: ServerTls) -> None:
        self._client_ca = tls.client_ca
        self._waiting: grpc.ServerCertificateConfiguration | None = None
        self._first = self._configuration(tls.certificate, tls.key)

    def credentials(self) -> grpc.ServerCredentials:
        # The fetcher answers None for "no change", which the type stubs do not know.
        fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._newest)
        return grpc.dynamic_ssl_server_credentials(
            self._first, fetcher, require_client_authentication=self._client_ca is not None
        )

    def replace(self, certificate: bytes, key: bytes) -> None:
        self._waiting = self._configuration(certificate, key)

    def _configuration(self, certificate: bytes, key: bytes) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=self._client_ca)

    def _newest(self) -> grpc.ServerCertificateConfiguration | None:
        newest, self._waiting = self._waiting, None
        return newest


def _options(keepalive: Keepalive) -> list[tuple[str, int]]:
    return [
        ("grpc.max_connection_age_ms", _ms(keepalive.max_age)),
        ("grpc.max_connection_age_grace_ms", _ms(keepalive.max_age_grace)),
        ("grpc.keepalive_time_ms", _ms(keepalive.ping_every)),
        ("grpc.keepalive_timeout_ms", _ms(keepalive.ping_timeout)),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(keepalive.min_client_ping)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Two services on one port must fail loudly; with the default, gRPC would share it silently.
        ("grpc.so_reuseport", 0),
    ]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ServerStartError(f"cannot read {path}: {error.strerror}") from error
