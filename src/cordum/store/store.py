"""The store: everything Cordum keeps in Redis, behind one connection."""

from cordum.runtime.clock import Clock, SystemClock
from cordum.runtime.ids import Ids, RandomIds
from cordum.runtime.settings.redis import RedisSettings
from cordum.store.approvals import Approvals
from cordum.store.audit import AuditLog
from cordum.store.batch import Batcher
from cordum.store.boundary import BoundaryEvents
from cordum.store.bypasses import Bypasses
from cordum.store.concurrency import Concurrency
from cordum.store.configs import Configs
from cordum.store.connection import ClientTLS, open_link
from cordum.store.dead_letters import DeadLetters
from cordum.store.decision_log import DecisionLog
from cordum.store.endings import Endings
from cordum.store.instances import Instances
from cordum.store.jobs import Jobs
from cordum.store.leases import Leases
from cordum.store.link import Link
from cordum.store.options import StoreOptions
from cordum.store.output_stats import OutputStats
from cordum.store.outputs import Outputs
from cordum.store.parked import Parked
from cordum.store.policies import Policies
from cordum.store.run_times import RunTimes
from cordum.store.sagas import Sagas
from cordum.store.schemas import Schemas
from cordum.store.sessions import Sessions
from cordum.store.shadows import Shadows
from cordum.store.snapshot_ids import SnapshotIds
from cordum.store.velocity import Velocity
from cordum.store.worker_credentials import WorkerCredentials
from cordum.store.workers import WorkerSnapshots


class Store:
    """What Cordum keeps in Redis.

    Every call raises StoreUnavailableError within about three seconds when Redis does not answer, and works again by
    itself once it does.
    """

    def __init__(self, options: StoreOptions, clock: Clock, ids: Ids, link: Link | None = None) -> None:
        """Nothing is sent yet. `link` stands in for the one the options describe."""
        self._tls = ClientTLS(options.tls)
        self._batcher = Batcher(link or open_link(options, self._tls), name="store", timeout=options.operation_timeout)
        self.decision_log = DecisionLog(self._batcher, options, clock)
        self.jobs = Jobs(self._batcher, options, clock, self.decision_log)
        self.approvals = Approvals(self._batcher, self.jobs, options)
        self.outputs = Outputs(self._batcher, options)
        self.bypasses = Bypasses(self._batcher)
        self.sagas = Sagas(self._batcher, options)
        self.endings = Endings(self._batcher)
        self.dead_letters = DeadLetters(self._batcher, options, clock)
        self.parked = Parked(self._batcher)
        self.run_times = RunTimes(self._batcher, options)
        self.concurrency = Concurrency(self._batcher)
        self.configs = Configs(self._batcher, clock)
        self.output_stats = OutputStats(self._batcher, clock)
        self.schemas = Schemas(self._batcher, clock)
        self.shadows = Shadows(self._batcher, self.configs)
        self.policies = Policies(self._batcher, self.configs, clock)
        self.audit = AuditLog(self._batcher, options, clock)
        self.snapshot_ids = SnapshotIds(self._batcher)
        self.velocity = Velocity(self._batcher)
        self.workers = WorkerSnapshots(self._batcher)
        self.worker_credentials = WorkerCredentials(self._batcher, self.configs)
        self.sessions = Sessions(self._batcher, clock)
        self.boundary = BoundaryEvents(self._batcher, clock)
        self.leases = Leases(self._batcher, ids)
        self.instances = Instances(self._batcher)

    @classmethod
    async def connect(
        cls, settings: RedisSettings | StoreOptions, *, clock: Clock | None = None, ids: Ids | None = None
    ) -> "Store":
        """Opens the store and makes sure that Redis answers.

        Raises:
            StoreSettingsError: the settings make no sense.
            StoreUnavailableError: Redis cannot be reached, or does not let us in.
        """
        options = settings if isinstance(settings, StoreOptions) else StoreOptions.from_settings(settings)
        store = cls(options, clock or SystemClock(), ids or RandomIds())
        try:
            await store.ping()
        except BaseException:
            await store.aclose()
            raise
        return store

    @property
    def round_trips(self) -> int:
        """Writes-and-reads so far: each is one batch, of however many commands."""
        return self._batcher.round_trips

    async def ping(self) -> None:
        """Raises StoreUnavailableError when Redis does not answer."""
        await self._batcher.submit([("PING",)])

    def reload_tls(self) -> None:
        """Reads the TLS files again, for connections to come. Raises StoreSettingsError; the old ones stay in use."""
        self._tls.reload()

    async def aclose(self) -> None:
        """Sends what still waits, then closes every connection."""
        await self.audit.aclose()
        await self._batcher.aclose()
