"""Puts the scheduler's parts together, starts them in order and stops them in order."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from cordum import __version__
from cordum.bus import Bus, Consumer, CoreMessage, subjects
from cordum.core.errors import CordumError
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.workers import Readiness
from cordum.rpc.kernel_client import KernelClient
from cordum.rpc.output_client import OutputClient
from cordum.runtime import metrics
from cordum.runtime.clock import Clock, SystemClock
from cordum.runtime.http import OpsServer
from cordum.runtime.ids import Ids, RandomIds
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.logging import get_logger
from cordum.runtime.session_keys import HandshakeKeys
from cordum.runtime.settings import SchedulerSettings
from cordum.services.scheduler.announcing import Announcer
from cordum.services.scheduler.approval_keeper import ApprovalKeeper
from cordum.services.scheduler.approval_trail import ApprovalTrail
from cordum.services.scheduler.cancels import CancelHandler
from cordum.services.scheduler.clock_watch import ClockWatch
from cordum.services.scheduler.config_files import ConfigFiles, ConfigFileWatch
from cordum.services.scheduler.deadlines import Deadlines
from cordum.services.scheduler.deciding import Deciding
from cordum.services.scheduler.dispatching import Dispatcher
from cordum.services.scheduler.held_results import HeldResults
from cordum.services.scheduler.holding import Holding
from cordum.services.scheduler.kernel_pause import KernelPause
from cordum.services.scheduler.leading import LeadLoop
from cordum.services.scheduler.limit_book import LimitBook
from cordum.services.scheduler.limiting import Limiting
from cordum.services.scheduler.losses import Losses
from cordum.services.scheduler.output_ruling import Rulings
from cordum.services.scheduler.output_scope import ScopeWatch
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.payloads import PayloadGate
from cordum.services.scheduler.peers import PeerTaps, SlotAudit
from cordum.services.scheduler.placing import Placing
from cordum.services.scheduler.poison import PoisonHandler
from cordum.services.scheduler.reconciler import Reconciler
from cordum.services.scheduler.recording import Recorder
from cordum.services.scheduler.registry import Registry
from cordum.services.scheduler.replayer import Replayer
from cordum.services.scheduler.results import ResultHandler
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.safety_modes import SafetyModes
from cordum.services.scheduler.sagas import Sagas
from cordum.services.scheduler.settling import Settling
from cordum.services.scheduler.snapshots import Snapshots
from cordum.services.scheduler.submit import SubmitHandler
from cordum.services.scheduler.trust.attestation import Attestation
from cordum.services.scheduler.trust.credentials import CredentialCache
from cordum.services.scheduler.trust.gate import WorkerGate
from cordum.services.scheduler.trust.handshakes import Handshakes
from cordum.services.scheduler.trust.verifying import Verifier
from cordum.services.scheduler.untold import UntoldEnds
from cordum.services.scheduler.waiting import WaitingRoom
from cordum.services.scheduler.woken import WokenJobs
from cordum.store import Instance, Store
from cordum.store.audit_outbox import AuditOutbox
from cordum.store.instances import RENEW_EVERY
from cordum.store.keys import RECONCILER_LOCK, REPLAYER_LOCK, UNFINISHED_LOCK
from cordum.store.payload_checks import PayloadChecks

log = get_logger(__name__)

SERVICE: Final = "cordum-scheduler"
MAX_IN_FLIGHT: Final = 1024
"""Messages of one subject handled at once."""

STOP_GRACE: Final = 10.0
"""Seconds the handlers have to end; of the 15 the process has."""


class Scheduler:
    """One scheduler process, on connections that are open already."""

    def __init__(
        self,
        settings: SchedulerSettings,
        files: ConfigFiles,
        *,
        bus: Bus,
        store: Store,
        kernel: KernelClient,
        output: OutputClient,
        clock: Clock | None = None,
        ids: Ids | None = None,
        keys: HandshakeKeys | None = None,
    ) -> None:
        """`keys`: what sessions are signed with, where they are set."""
        clock, ids = clock or SystemClock(), ids or RandomIds()
        self._settings = settings
        self._bus = bus
        self._store = store
        self._clock = clock
        self.fleet = Fleet(ttl=settings.worker_ttl)
        self.routes = LiveRoutes(store, files)
        paths = settings.pool_config_path, settings.timeout_config_path
        self.config_files = ConfigFileWatch(*paths, files.digest, self.routes.use_files, clock)
        self.watch = ClockWatch(clock)
        self.room = WaitingRoom()
        self.holding = Holding(self.fleet, clock)
        self.limit_book = LimitBook(store, clock)
        self.limiting = Limiting(store, self.limit_book, self.fleet, clock)
        self._outbox = AuditOutbox(store.audit, clock, settings.audit_spool_path)
        self.handshakes = Handshakes(settings, keys, bus=bus, store=store, outbox=self._outbox, clock=clock, ids=ids)
        self.announcer = Announcer(bus, store, clock, self.handshakes.tokens)
        self.settling = Settling(store, self.announcer, self.holding, clock)
        self.parking = Parking(store, self.routes, self.fleet, self.room, clock)
        self.credentials = CredentialCache(store)
        self.verifier = Verifier(clock)
        self.attestation = Attestation(settings.worker_attestation, self.credentials, self.verifier, clock)
        self.gate = WorkerGate(self.attestation, self.handshakes.guard)
        self.registry = Registry(bus, self.fleet, self.parking, self.gate, clock)
        self.peers = PeerTaps(bus, self.fleet, self.holding, self.gate)
        self.dispatcher = Dispatcher(bus, store, self.holding, clock, ids, self.handshakes.trust)
        self.kernel_pause = KernelPause(kernel)
        self.approval_trail = ApprovalTrail(self._outbox, bus, clock, ids)
        self.modes = SafetyModes(store, settings, clock)
        self.output_scope = ScopeWatch(output, clock)
        self.deciding = Deciding(
            kernel=kernel,
            modes=self.modes,
            scope=self.output_scope,
            store=store,
            outbox=self._outbox,
            clock=clock,
        )
        self.payloads = PayloadGate(store, PayloadChecks(store.schemas, clock), settings.schema_enforcement)
        self.placing = Placing(
            deciding=self.deciding,
            routes=self.routes,
            payloads=self.payloads,
            deadlines=Deadlines(store, self.routes, self.watch),
            fleet=self.fleet,
            readiness=Readiness(required=settings.worker_readiness_required, ttl=settings.worker_readiness_ttl),
            dispatcher=self.dispatcher,
            settling=self.settling,
            parking=self.parking,
            room=self.room,
            limiting=self.limiting,
            trail=self.approval_trail,
            recorder=Recorder(store, self._outbox, clock, ids),
            clock=clock,
        )
        self.submits = SubmitHandler(
            store=store,
            placing=self.placing,
            settling=self.settling,
            dispatcher=self.dispatcher,
            parking=self.parking,
            kernel_pause=self.kernel_pause,
            clock=clock,
        )
        self.sagas = Sagas(
            bus=bus, store=store, kernel=kernel, announcer=self.announcer, outbox=self._outbox, clock=clock
        )
        self.results = ResultHandler(
            store=store,
            routes=self.routes,
            holding=self.holding,
            parking=self.parking,
            announcer=self.announcer,
            held=HeldResults(
                store=store,
                rulings=Rulings(store, output, clock, settings.output_max_bytes),
                scope=self.output_scope,
                modes=self.modes,
                outbox=self._outbox,
                clock=clock,
            ),
            sagas=self.sagas,
            gate=self.gate,
            clock=clock,
        )
        self.cancels = CancelHandler(
            store=store, holding=self.holding, announcer=self.announcer, gate=self.gate, clock=clock
        )
        self.untold = UntoldEnds(
            bus=bus,
            store=store,
            holding=self.holding,
            settling=self.settling,
            announcer=self.announcer,
            clock=clock,
        )
        self.poison = PoisonHandler(store, self.settling, self.announcer)
        self.woken = WokenJobs(
            store=store, placing=self.placing, settling=self.settling, parking=self.parking, clock=clock
        )
        self.losses = Losses(
            store=store,
            fleet=self.fleet,
            holding=self.holding,
            parking=self.parking,
            settling=self.settling,
            routes=self.routes,
            watch=self.watch,
            clock=clock,
        )
        self.audit = SlotAudit(store, self.fleet, self.holding, self.losses, clock)
        self.snapshots = Snapshots(
            store, self.fleet, self.registry, self.routes, self.attestation, clock, settings.instance_id
        )
        self.approvals = ApprovalKeeper(
            store=store, settling=self.settling, woken=self.woken, trail=self.approval_trail, clock=clock
        )
        self.reconciler = Reconciler(
            bus=bus,
            store=store,
            routes=self.routes,
            registry=self.registry,
            settling=self.settling,
            losses=self.losses,
            parking=self.parking,
            approvals=self.approvals,
            watch=self.watch,
            clock=clock,
        )
        self.replayer = Replayer(
            store=store,
            routes=self.routes,
            woken=self.woken,
            settling=self.settling,
            parking=self.parking,
            watch=self.watch,
            clock=clock,
        )
        self._reconciling = LeadLoop(store, RECONCILER_LOCK, clock)
        self._replaying = LeadLoop(store, REPLAYER_LOCK, clock)
        self._finishing = LeadLoop(store, UNFINISHED_LOCK, clock)
        self._consumers: list[Consumer] = []

    async def start(self, life: Lifecycle) -> None:
        """Begins to work; stops, in the reverse order, with the process.

        Raises:
            StoreError, BusError, RoutingConfigError: it cannot work.
        """
        self.parking.tries_with(self.woken.from_lane)
        self.holding.on_free(self.parking.freed)
        self.holding.on_free(self.limiting.ended)
        self.limiting.on_room(self.parking.room_under)
        self.registry.on_gone(self.losses.workers_gone)
        self.credentials.on_change(self.registry.credentials_changed)
        self.routes.on_change(self.parking.rerouted)
        metrics.ACTIVE_GOROUTINES.set_function(self._at_work)

        await self._outbox.open()
        life.on_stop(self._outbox.aclose)
        life.spawn(self._outbox.run(), name="audit outbox")
        await self.routes.start()
        await self.modes.refresh()
        await self.limit_book.refresh()
        await self._bus.ensure_streams()
        await self.peers.start()
        life.on_stop(self.peers.stop)
        await self.credentials.try_refresh()
        life.spawn(self.credentials.run(self._settings.config_reload_interval), name="worker credentials")
        life.spawn(self.verifier.run(), name="worker tokens")
        await self.registry.start()
        life.on_stop(self.registry.stop)
        await self.handshakes.start(life, self.registry.announced)
        changes = await self._bus.subscribe(subjects.CONFIG_CHANGED, self._on_config_changed)
        life.on_stop(changes.unsubscribe)
        self._bus.on_reconnect(self._on_reconnect)
        await self.audit.learn()
        await self.snapshots.warm_start()

        life.spawn(self.routes.run(self._settings.config_reload_interval), name="config reload")
        life.spawn(self.modes.run(self._settings.config_reload_interval), name="fail modes")
        life.spawn(self._watch_output_rules(), name="output rules")
        life.on_reload(self.config_files.read)
        life.spawn(self.config_files.run(self._settings.config_reload_interval), name="config files")
        life.spawn(self.watch.run(), name="clock watch")
        life.spawn(self.registry.sweep(), name="worker sweep")
        life.spawn(self.snapshots.run(self._settings.worker_snapshot_interval), name="worker snapshot")
        life.spawn(self.audit.run(), name="slot audit")
        life.spawn(self.limit_book.run(self._settings.config_reload_interval), name="limits")
        life.spawn(self.limiting.run(), name="limited jobs")
        life.spawn(self.losses.run(), name="lost workers")
        life.on_stop(self._reconciling.release)
        life.on_stop(self._replaying.release)
        life.on_stop(self._finishing.release)
        life.spawn(
            self._reconciling.run(self.reconciler.period, self.reconciler.tick, self.reconciler.stand_by),
            name="reconciler",
        )
        life.spawn(self._replaying.run(self.replayer.period, self.replayer.tick, _nothing), name="replayer")
        life.on_stop(self.sagas.stop)
        life.spawn(self._finishing.run(self.reconciler.period, self._finish, _nothing), name="unfinished work")
        instance = Instance(
            id=self._settings.instance_id,
            service=SERVICE,
            version=__version__,
            started_at=datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="seconds"),
        )
        life.on_stop(lambda: self._withdraw(instance))
        life.spawn(self._announce(instance), name="instance")
        life.on_stop(self._store.boundary.write)
        life.spawn(self._store.boundary.run(), name="boundary events")
        life.spawn(self.parking.run(), name="parking")
        life.on_stop(self._stop_handling)
        await self._consume()

    async def _consume(self) -> None:
        submits = await self._bus.consume(
            stream=subjects.STREAM_SYS,
            subject=subjects.JOB_SUBMIT,
            queue=subjects.SCHEDULER_QUEUE,
            handler=self.submits.handle,
            on_poison=self.poison.put_away,
            max_in_flight=MAX_IN_FLIGHT,
        )
        self.kernel_pause.controls(submits)
        self._consumers.append(submits)
        for subject, handler in (
            (subjects.JOB_RESULT, self.results.handle),
            (subjects.JOB_CANCEL, self.cancels.handle),
        ):
            self._consumers.append(
                await self._bus.consume(
                    stream=subjects.STREAM_SYS,
                    subject=subject,
                    queue=subjects.SCHEDULER_QUEUE,
                    handler=handler,
                    on_poison=self.poison.put_away,
                    max_in_flight=MAX_IN_FLIGHT,
                )
            )

    async def _stop_handling(self) -> None:
        """First nothing more is fetched, then what is being handled comes to its end, the rest goes back."""
        await self.kernel_pause.aclose()
        stopping = [asyncio.create_task(consumer.stop(STOP_GRACE)) for consumer in self._consumers]
        self.room.close()
        await asyncio.gather(*stopping)
        await self.parking.stop(STOP_GRACE / 2)

    async def _on_config_changed(self, message: CoreMessage) -> None:
        self.output_scope.changed()
        self.modes.refresh_soon()
        self.limit_book.refresh_soon()
        self.payloads.changed()
        self.routes.refresh_soon()
        self.credentials.refresh_soon()
        self.handshakes.refresh_soon()

    async def _on_reconnect(self) -> None:
        self.fleet.interrupted(self._clock.monotonic())
        self.registry.listen_anew()
        # What was announced meanwhile went by unheard.
        self.credentials.refresh_soon()
        self.handshakes.refresh_soon()
        self.output_scope.changed()
        self.modes.refresh_soon()
        self.limit_book.refresh_soon()
        self.payloads.changed()
        self.routes.refresh_soon()

    async def _finish(self) -> None:
        """Goes on with what a scheduler or a gateway began and could not bring to its end."""
        await self.sagas.tick()
        await self.untold.tick()

    async def _watch_output_rules(self) -> None:
        """Asks what the output rules are about for as long as results are checked at all."""
        while True:
            if self.modes.output_enabled:
                await self.output_scope.ask()
            await self.output_scope.rest()

    async def _announce(self, instance: Instance) -> None:
        while True:
            try:
                await self._store.instances.register(instance)
            except Exception as error:
                log.debug("the instance key was not written", event="instance_unwritten", error=str(error))
            await self._clock.sleep(RENEW_EVERY)

    async def _withdraw(self, instance: Instance) -> None:
        try:
            await self._store.instances.remove(instance)
        except CordumError as error:
            # The key runs out by itself; that Redis is away is no reason to stop with an error.
            log.debug("the instance key was not removed", event="instance_unremoved", error=error.message)

    def _at_work(self) -> float:
        return float(sum(consumer.in_flight for consumer in self._consumers) + self.parking.trying)


async def main(
    life: Lifecycle, settings: SchedulerSettings, files: ConfigFiles, keys: HandshakeKeys | None = None
) -> None:
    """Connects, serves health and metrics, and works until told to stop."""
    clock = SystemClock()
    health = life.health
    ops = OpsServer(settings.metrics_addr, service=SERVICE, health=health)
    await ops.start()
    life.on_stop(ops.aclose)
    store = await Store.connect(settings, clock=clock)
    life.on_stop(store.aclose)
    bus = await Bus.connect(settings)
    life.on_stop(bus.aclose)
    kernel = KernelClient.from_settings(settings, clock)
    life.on_stop(kernel.aclose)
    output = OutputClient.from_settings(settings, clock)
    life.on_stop(output.aclose)
    health.register("redis", store.ping)
    health.register("nats", bus.ping)
    health.register("safety", kernel.snapshots)
    scheduler = Scheduler(settings, files, bus=bus, store=store, kernel=kernel, output=output, clock=clock, keys=keys)
    await scheduler.start(life)
    life.ready()


def _nothing() -> None:
    """What a loop does that somebody else leads and that has nothing to take back."""
