"""Puts the gateway's parts together, starts them in order and stops them in order."""

import asyncio
import ssl
from typing import Final

from cordum.bus import BadPacketError, Bus, CoreMessage, envelope, subjects
from cordum.core.sessions import Signer
from cordum.rpc.kernel_client import KernelClient, KernelUnavailableError
from cordum.rpc.server import Keepalive, RpcServer, ServerTls, start_server
from cordum.runtime.certificates import CertPair
from cordum.runtime.clock import Clock, SystemClock
from cordum.runtime.health import Health
from cordum.runtime.http import OpsServer
from cordum.runtime.ids import Ids, RandomIds
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import ServiceTokens
from cordum.runtime.session_keys import read_signer
from cordum.runtime.settings import GatewaySettings
from cordum.runtime.settings.output import FailMode
from cordum.runtime.tls import CertReloader, SwappingContext
from cordum.services.gateway import gauges, grpc_api
from cordum.services.gateway.approvals.outcomes import Outcomes
from cordum.services.gateway.approvals.repairer import Repairer
from cordum.services.gateway.approvals.resolver import Resolver
from cordum.services.gateway.auditing import Auditor
from cordum.services.gateway.authentication import Authenticator
from cordum.services.gateway.dlq.consumer import LetterConsumer
from cordum.services.gateway.dlq.keeping import keep_tidy
from cordum.services.gateway.dlq.letters import DeadLetterBox
from cordum.services.gateway.http_server import HttpServer
from cordum.services.gateway.jobs.cancelling import Canceller
from cordum.services.gateway.jobs.quarantine import QuarantineDesk
from cordum.services.gateway.jobs.remediation import Remediator
from cordum.services.gateway.jobs.views import RenderedRecords
from cordum.services.gateway.jobs.waiting import Waiting
from cordum.services.gateway.keysource import KeySource
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.changing import PolicyChanger
from cordum.services.gateway.policy_admin.drafts import Drafts
from cordum.services.gateway.policy_admin.signer import PolicySigner
from cordum.services.gateway.policy_admin.trying import PolicyTrials
from cordum.services.gateway.ratelimit import SWEEP_SECONDS, Limit, RateLimiter
from cordum.services.gateway.router import build
from cordum.services.gateway.routes import ROUTES
from cordum.services.gateway.routing_admin.desk import RoutingDesk
from cordum.services.gateway.routing_admin.keeping import RoutingKeeper
from cordum.services.gateway.schemas.gate import SubmitGate
from cordum.services.gateway.status import StatusPage
from cordum.services.gateway.stream.endpoint import StreamEndpoint
from cordum.services.gateway.stream.relay import Relay
from cordum.services.gateway.submit.backpressure import Backpressure
from cordum.services.gateway.submit.service import SubmitService
from cordum.services.gateway.topics import TopicRegistry
from cordum.services.gateway.workers.fleet import Fleet
from cordum.store import Store
from cordum.store.audit_outbox import AuditOutbox
from cordum.store.payload_checks import PayloadChecks

log = get_logger(__name__)

SERVICE: Final = "cordum-api-gateway"
CLOSING_NOTICE: Final = 0.2
"""Seconds between "not ready" and taking no more connections, for those who ask just then."""
LETTERS_GRACE: Final = 2.0  # seconds for dead letters that are just being taken from the bus
GRPC_GRACE: Final = 8.0  # seconds for calls under way when the server is closed


class Gateway:
    """One gateway process, on connections that are open already."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        bus: Bus,
        store: Store,
        kernel: KernelClient,
        keys: KeySource,
        health: Health,
        clock: Clock | None = None,
        ids: Ids | None = None,
        token_signer: Signer | None = None,
    ) -> None:
        """`token_signer`: what shows other services that we are the gateway, where there is a key for it."""
        clock, ids = clock or SystemClock(), ids or RandomIds()
        tokens = ServiceTokens(token_signer, clock, ids)
        self._settings = settings
        self._clock = clock
        self._bus = bus
        self._keys = keys
        api = Limit(settings.api_rate_limit_rps, settings.api_rate_limit_burst)
        public = Limit(settings.api_public_rate_limit_rps, settings.api_public_rate_limit_burst)
        tenant_limiter, public_limiter = RateLimiter(api, clock), RateLimiter(public, clock)
        topics = TopicRegistry(store, clock)
        self._outbox = AuditOutbox(store.audit, clock, settings.audit_spool_path)
        auditor = Auditor(self._outbox, clock, ids)
        dead_letters = DeadLetterBox(store, bus, clock)
        waiting = Waiting(store, bus, clock)
        fleet = Fleet(store, bus, clock)
        self._backpressure = backpressure = Backpressure(store, clock)
        submit_gate = SubmitGate(PayloadChecks(store.schemas, clock), settings.schema_enforcement)
        submitter = SubmitService(
            store=store,
            bus=bus,
            kernel=kernel,
            topics=topics,
            gate=submit_gate,
            backpressure=backpressure,
            dead_letters=dead_letters,
            auditor=auditor,
            clock=clock,
            ids=ids,
            accepts_undecided=settings.accept_undecided or settings.policy_check_fail_mode is FailMode.OPEN,
        )
        outcomes = Outcomes(
            store=store, bus=bus, submitter=submitter, dead_letters=dead_letters, tokens=tokens, clock=clock
        )
        resolver = Resolver(
            store=store, kernel=kernel, outcomes=outcomes, auditor=auditor, waiting=waiting, clock=clock
        )
        repairer = Repairer(
            store=store, resolver=resolver, outcomes=outcomes, auditor=auditor, waiting=waiting, clock=clock
        )
        signer, trials = PolicySigner(settings), PolicyTrials(kernel)
        self.parts = Parts(
            settings=settings,
            clock=clock,
            ids=ids,
            store=store,
            bus=bus,
            kernel=kernel,
            health=health,
            authenticator=Authenticator(
                lambda: keys.ring,
                public_limiter,
                clock,
                trusts_header_principal=settings.trusts_header_principal,
            ),
            tenant_limiter=tenant_limiter,
            public_limiter=public_limiter,
            topics=topics,
            auditor=auditor,
            submitter=submitter,
            resolver=resolver,
            repairer=repairer,
            canceller=Canceller(store, bus, waiting, tokens, clock),
            quarantine=QuarantineDesk(store, bus, auditor, waiting, tokens, clock),
            remediator=Remediator(store, topics, clock, ids),
            dead_letters=dead_letters,
            waiting=waiting,
            rendered=RenderedRecords(),
            fleet=fleet,
            status=StatusPage(settings, store, bus, kernel, fleet, health, clock),
            drafts=Drafts(store),
            policy_signer=signer,
            policy_trials=trials,
            policy_changer=PolicyChanger(store, bus, trials, signer, clock),
            routing=RoutingDesk(store, bus, clock, ids),
            submit_gate=submit_gate,
        )
        self.relay = Relay(settings, store, clock)
        self.http: HttpServer | None = None
        self.grpc: RpcServer | None = None

    async def start(self, life: Lifecycle) -> None:
        """Listens; whatever it starts is stopped with `life`."""
        parts = self.parts
        parts.health.register("nats", parts.bus.ping)
        parts.health.register("redis", parts.store.ping)
        await self._outbox.open()
        life.on_stop(self._outbox.aclose)
        await parts.policy_signer.open()
        await parts.topics.try_refresh()
        await parts.store.worker_credentials.take_over()
        await parts.fleet.start()
        life.on_stop(parts.fleet.aclose)
        changed = await parts.bus.subscribe(subjects.CONFIG_CHANGED, self._on_config_changed)
        life.on_stop(changed.unsubscribe)
        life.on_reload(self._keys.reload)
        letters = await LetterConsumer(parts.store, parts.bus).start()
        life.on_stop(lambda: letters.stop(LETTERS_GRACE))
        self._spawn(life)
        self.grpc = await self._start_grpc(life)
        life.on_stop(self.relay.aclose)
        application = StreamEndpoint(build(parts, ROUTES), parts, self.relay)
        self.http = HttpServer(application, self._settings, await self._http_tls(life))
        await self.http.start()
        life.on_stop(self._stop_listening)
        log.info(
            "serving",
            event="serving",
            http=str(self.http.address),
            grpc=self.grpc.address,
            tls=bool(self._settings.http_tls_cert),
            rate_limit=f"{self._settings.api_rate_limit_rps}/{self._settings.api_rate_limit_burst}",
            public_rate_limit=(
                f"{self._settings.api_public_rate_limit_rps}/{self._settings.api_public_rate_limit_burst}"
            ),
            callers=len(self._keys.ring),
        )

    def _spawn(self, life: Lifecycle) -> None:
        parts, clock = self.parts, self._clock
        life.spawn(parts.topics.keep_fresh(), name="topics")
        life.spawn(RoutingKeeper(parts.routing, parts.fleet, clock).run(), name="routing")
        life.spawn(self._backpressure.keep_fresh(), name="backpressure")
        life.spawn(self._outbox.run(), name="audit-outbox")
        life.on_stop(parts.store.boundary.write)
        life.spawn(parts.store.boundary.run(), name="boundary-events")
        life.spawn(self._keys.keep_fresh(), name="api-keys")
        life.spawn(self._sweep_limiters(), name="limiter-sweep")
        life.spawn(gauges.watch_dead_letters(parts.store, clock), name="dlq-gauge")
        life.spawn(self._meet_kernel(), name="kernel-greeting")
        life.spawn(keep_tidy(parts.store, clock), name="dlq-tidy")
        me = gauges.instance(self._settings.instance_id, clock)
        life.on_stop(lambda: gauges.withdraw(parts.store, me))
        life.spawn(gauges.announce(parts.store, me, clock), name="instance")

    async def _meet_kernel(self) -> None:
        """Opens the way to the safety kernel, so that the first job does not have to wait for it."""
        try:
            await self.parts.kernel.snapshots()
        except KernelUnavailableError as error:
            log.warning("safety kernel not reached", event="kernel_not_reached", error=error.message)

    async def _stop_listening(self) -> None:
        """Open requests end; those that only wait are answered with what is known now."""
        if self.grpc is not None:
            await self.grpc.set_not_serving()
        await self.parts.waiting.aclose()
        await self.relay.aclose()
        await asyncio.sleep(CLOSING_NOTICE)
        closing = [server.aclose() for server in (self.http,) if server is not None]
        if self.grpc is not None:
            closing.append(self.grpc.aclose(GRPC_GRACE))
        await asyncio.gather(*closing)

    async def _sweep_limiters(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.parts.tenant_limiter.sweep()
            self.parts.public_limiter.sweep()

    async def _on_config_changed(self, message: CoreMessage) -> None:
        await self._backpressure.refresh()
        try:
            details = envelope.decode(message.data).alert.details
        except BadPacketError:
            return
        if details.get("scope_id", "schemas") == "schemas":
            self.parts.submit_gate.changed()
        if details.get("scope_id", "topics") in ("topics", "default"):
            await self.parts.topics.try_refresh()

    async def _http_tls(self, life: Lifecycle) -> ssl.SSLContext | None:
        settings = self._settings
        cert, key = settings.http_tls_cert, settings.http_tls_key
        if not cert:
            return None
        swapping = await asyncio.to_thread(SwappingContext, cert, key, "", settings.tls_minimum)
        reloader = await asyncio.to_thread(CertReloader, "gateway-http", cert, key, swapping.swap, self._clock)
        life.spawn(reloader.watch(), name="http-certificate")
        return swapping.context

    async def _start_grpc(self, life: Lifecycle) -> RpcServer:
        settings = self._settings
        cert, key = settings.grpc_tls_cert, settings.grpc_tls_key
        tls = None
        if cert:
            tls = await asyncio.to_thread(ServerTls.from_files, cert, key)
        server = await start_server(
            str(settings.grpc_addr),
            [grpc_api.service(self.parts)],
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
        life.on_stop(server.aclose)
        if tls is not None:

            def renew(pair: CertPair) -> None:
                server.use_certificate(pair.cert, pair.key)

            reloader = await asyncio.to_thread(CertReloader, "gateway-grpc", cert, key, renew, self._clock)
            life.spawn(reloader.watch(), name="grpc-certificate")
        return server


async def main(life: Lifecycle, settings: GatewaySettings, keys: KeySource) -> None:
    """Opens the connections and runs a gateway on them until the lifecycle ends."""
    clock = SystemClock()
    ops = OpsServer(settings.metrics_addr, service=SERVICE, health=life.health)
    await ops.start()
    life.on_stop(ops.aclose)
    store = await Store.connect(settings, clock=clock)
    life.on_stop(store.aclose)
    bus = await Bus.connect(settings)
    life.on_stop(bus.aclose)
    await bus.ensure_streams()
    kernel = KernelClient.from_settings(settings, clock)
    life.on_stop(kernel.aclose)
    gateway = Gateway(
        settings,
        bus=bus,
        store=store,
        kernel=kernel,
        keys=keys,
        health=life.health,
        clock=clock,
        token_signer=await asyncio.to_thread(read_signer, settings),
    )
    await gateway.start(life)
    life.ready()
