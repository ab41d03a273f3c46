"""The kernel put together: policy, gRPC server, certificates, health and metrics."""

import asyncio
from collections.abc import Iterable

from cordum.core.policy.compile import Delegation
from cordum.rpc.server import Keepalive, RpcServer, ServerTls, start_server
from cordum.runtime import logging
from cordum.runtime.certificates import CertPair
from cordum.runtime.clock import SystemClock
from cordum.runtime.health import OK
from cordum.runtime.http import OpsServer
from cordum.runtime.ids import RandomIds
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.settings import NatsSettings, RedisSettings, SafetyKernelSettings
from cordum.runtime.tls import CertReloader
from cordum.services.safety_kernel import announcements, output, service
from cordum.services.safety_kernel.actions import ActionGates, Resolver
from cordum.services.safety_kernel.callers import Callers
from cordum.services.safety_kernel.counting import Counting
from cordum.services.safety_kernel.errors import LoadError, SourceUnavailableError
from cordum.services.safety_kernel.history import History
from cordum.services.safety_kernel.judge import MOST_KNOWN, Judge
from cordum.services.safety_kernel.keeper import PolicyKeeper
from cordum.services.safety_kernel.loading import LoadedPolicy, PolicyLoader
from cordum.services.safety_kernel.output_scope import OutputScopeCalls
from cordum.services.safety_kernel.scanners import load_scanners
from cordum.services.safety_kernel.scanning import Scanning
from cordum.services.safety_kernel.shadowing import Shadowing
from cordum.services.safety_kernel.source import PolicySource
from cordum.services.safety_kernel.trial import Trials
from cordum.services.safety_kernel.trust import Trust
from cordum.store.options import StoreOptions
from cordum.store.store import Store

NAME = "cordum-safety-kernel"
START_PATIENCE = 5.0  # seconds in which Redis or the policy's URL must answer
START_PAUSE = 0.5
CERTIFICATE_LABEL = "safety-kernel"

_log = logging.get_logger(__name__)


class Kernel:
    """One safety kernel. `load` first, which may refuse; then `serve`."""

    def __init__(
        self, settings: SafetyKernelSettings, nats: NatsSettings | None, redis: RedisSettings | None = None
    ) -> None:
        """Without `nats` no announcements are heard, which only makes reloads wait for their timer. Without `redis`
        there are no bundles: the policy is the file or URL alone.

        Raises:
            SignatureError: a signature is demanded and there is no key to check it with, or a key cannot be used.
            LoadError: the URL of the policy is none that may be fetched.
            ScannersError: the scanners file cannot be used.
        """
        self._settings = settings
        self._nats = nats
        self._redis = redis
        self._clock = SystemClock()
        self._judge = Judge(
            most_known=settings.decision_cache_max_size if settings.decision_cache_max_size > 0 else MOST_KNOWN,
            known_for=settings.decision_cache_ttl,
        )
        self._counting = Counting(self._judge, self._clock, settings.velocity_fail_mode)
        self._output_scope = OutputScopeCalls()
        self._source = PolicySource(settings)
        self._source.check_url()
        self._history = History()
        self._scanning = Scanning()
        self._output = output.OutputPolicy(self._scanning)
        self._loader = PolicyLoader(
            self._source,
            Trust(settings),
            settings.policy_max_bytes,
            load_scanners(settings),
            Delegation.TRUSTED if settings.delegation_policy_enabled else Delegation.REFUSED,
        )
        self._keeper = PolicyKeeper(
            self._source,
            self._loader,
            [self._adopt],
            self._history,
            self._clock,
            settings.policy_reload_interval,
        )

    def load(self) -> None:
        """Loads the policy, before there is an event loop.

        Raises:
            SourceUnavailableError: Redis or the URL did not answer for five seconds. Without the bundles the policy
                would not be the one that was published, so none is used.
            LoadError: the policy must not be used, or is missing in production.
        """
        loaded = asyncio.run(self._load())
        if loaded is None and self._settings.production:
            raise LoadError(f"no policy: {self._source.name} does not exist", reason="missing")

    async def _load(self) -> LoadedPolicy | None:
        store = self._open_store()
        try:
            return await self._load_with(store)
        finally:
            self._use(None)
            if store is not None:
                await store.aclose()

    async def _load_with(self, store: Store | None) -> LoadedPolicy | None:
        self._use(store)
        give_up_at = self._clock.monotonic() + START_PATIENCE
        while True:
            try:
                return await self._keeper.start()
            except SourceUnavailableError:
                if self._clock.monotonic() >= give_up_at:
                    raise
                await self._clock.sleep(START_PAUSE)

    def _open_store(self) -> Store | None:
        """Nothing is dialled yet: Redis may be away while the policy in force decides."""
        if self._redis is None:
            return None
        return Store(StoreOptions.from_settings(self._redis), self._clock, RandomIds())

    def _use(self, store: Store | None) -> None:
        self._source.use(store)
        self._history.use(store)
        self._counting.use(store)

    async def _close_scanning(self) -> None:
        self._scanning.close()

    def _adopt(self, loaded: LoadedPolicy) -> None:
        self._judge.adopt(loaded.compiled, loaded.snapshot)
        self._output.adopt(loaded.output, loaded.snapshot, loaded.document.tenant_of_nobody)
        self._output_scope.adopt(loaded.document, loaded.snapshot)

    async def serve(self, life: Lifecycle) -> None:
        """Serves until the lifecycle ends. Raises ServerStartError, AddressInUseError or TlsError."""
        ops = OpsServer(self._settings.admin_addr, service=NAME, health=life.health)
        await ops.start()
        life.on_stop(ops.aclose)
        life.on_stop(self._close_scanning)
        store = self._open_store()
        if store is not None:
            life.on_stop(store.aclose)
        self._use(store)
        shadowing = None
        if store is not None and not self._settings.shadow_eval_disabled:
            shadowing = Shadowing(self._loader, self._keeper, store, self._clock)
            life.spawn(shadowing.run(), name="shadows")
        server = await self._start_grpc(life, _unobserved if shadowing is None else shadowing.observe)
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

    async def _start_grpc(self, life: Lifecycle, observe: service.Observe) -> RpcServer:
        settings = self._settings
        tls = None
        if settings.tls_cert:
            tls = await asyncio.to_thread(
                ServerTls.from_files, settings.tls_cert, settings.tls_key, settings.tls_client_ca or None
            )
        server = await start_server(
            str(settings.addr),
            [
                *service.services(
                    service.KernelCalls(
                        self._judge,
                        ActionGates(Resolver(self._clock)),
                        self._counting,
                        self._history.all,
                        Trials(self._source, self._loader, self._keeper),
                        Callers(settings.trusted_callers if settings.tls_client_ca else ()),
                        observe,
                    )
                ),
                output.service(self._output),
                self._output_scope.service,
            ],
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


def _unobserved(requests: Iterable[bytes]) -> None:
    """Nobody compares."""
