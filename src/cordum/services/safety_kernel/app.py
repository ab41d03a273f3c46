"""The kernel put together: policy, gRPC server, certificates, health and metrics."""

import asyncio

from cordum.rpc.server import Keepalive, RpcServer, ServerTls, start_server
from cordum.runtime import logging
from cordum.runtime.certificates import CertPair
from cordum.runtime.clock import SystemClock
from cordum.runtime.health import OK
from cordum.runtime.http import OpsServer
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.settings import NatsSettings, SafetyKernelSettings
from cordum.runtime.tls import CertReloader
from cordum.services.safety_kernel import announcements, service
from cordum.services.safety_kernel.judge import Judge
from cordum.services.safety_kernel.keeper import PolicyKeeper
from cordum.services.safety_kernel.source import LoadError, PolicySource

NAME = "cordum-safety-kernel"
CERTIFICATE_LABEL = "safety-kernel"

_log = logging.get_logger(__name__)


class Kernel:
    """One safety kernel. `load` first, which may refuse; then `serve`."""

    def __init__(self, settings: SafetyKernelSettings, nats: NatsSettings | None) -> None:
        """Without `nats` no announcements are heard, which only makes reloads wait for their timer.

        Raises SignatureError when a signature is demanded and there is no key to check it with.
        """
        self._settings = settings
        self._nats = nats
        self._clock = SystemClock()
        self._judge = Judge()
        self._keeper = PolicyKeeper(PolicySource(settings), self._judge, self._clock, settings.policy_reload_interval)

    def load(self) -> None:
        """Loads the policy. Raises LoadError when it must not be used, or is missing in production."""
        loaded = self._keeper.start()
        if loaded is None and self._settings.production:
            raise LoadError(
                f"no policy: SAFETY_POLICY_PATH={self._settings.policy_path} does not exist", reason="missing"
            )

    async def serve(self, life: Lifecycle) -> None:
        """Serves until the lifecycle ends. Raises ServerStartError, AddressInUseError or TlsError."""
        ops = OpsServer(self._settings.admin_addr, service=NAME, health=life.health)
        await ops.start()
        life.on_stop(ops.aclose)
        server = await self._start_grpc(life)
        life.on_stop(lambda: server.aclose(min(10.0, life.grace_left)))
        life.health.note("policy", self._policy_health)
        life.spawn(self._keeper.run(), name="policy-reload")
        life.on_reload(self._keeper.poll)
        if self._nats is not None:
            life.spawn(announcements.listen(self._nats, self._keeper.reload_soon), name="announcements")
        _log.info(
            "serving", event="serving", grpc=server.address, admin=str(ops.address), tls=bool(self._settings.tls_cert)
        )
        life.ready()

    async def _start_grpc(self, life: Lifecycle) -> RpcServer:
        settings = self._settings
        tls = None
        if settings.tls_cert:
            tls = await asyncio.to_thread(
                ServerTls.from_files, settings.tls_cert, settings.tls_key, settings.tls_client_ca or None
            )
        server = await start_server(
            str(settings.addr),
            service.services(self._judge, lambda: self._keeper.snapshots),
            tls=tls,
            reflection=settings.serves_reflection,
            keepalive=Keepalive(
                max_age=settings.grpc_server_max_connection_age,
                max_age_grace=settings.grpc_server_max_connection_age_grace,
                ping_every=settings.grpc_server_keepalive_time,
                ping_timeout=settings.grpc_server_keepalive_timeout,
                min_client_ping=settings.grpc_server_min_ping_interval,
            ),
        )
        if tls is not None:

            def renew(pair: CertPair) -> None:
                server.use_certificate(pair.cert, pair.key)

            reloader = await asyncio.to_thread(
                CertReloader, CERTIFICATE_LABEL, settings.tls_cert, settings.tls_key, renew, self._clock
            )
            life.spawn(reloader.watch(), name="certificate-reload")
        return server

    def _policy_health(self) -> str:
        if not self._keeper.has_policy:
            return "no policy: everything is denied"
        return self._keeper.fault or OK
