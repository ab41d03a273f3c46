"""One scheduler process: the real one, on a simulated connection to everything."""

from collections.abc import Mapping
from typing import Any, Final

from tests.simulation.broker import SimBroker
from tests.simulation.clocks import NamedIds, SimClock
from tests.simulation.history import Event, History
from tests.simulation.kernel import TOPICS, SimKernel, SimKernelClient, SimOutputClient
from tests.simulation.link import RedisNet, SimLink
from tests.simulation.loop import Process, SimLoop
from tests.simulation.wire import SimWire

from cordum.bus import Bus
from cordum.bus.events import ConnectionEvents
from cordum.core.routing.pools import parse_pools
from cordum.core.routing.timeouts import parse_timeouts
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.settings import SchedulerSettings
from cordum.services.scheduler.app import Scheduler
from cordum.services.scheduler.config_files import ConfigFiles
from cordum.store import Store
from cordum.store.options import StoreOptions

WORKER_TTL: Final = 3.0
RUNNING_TIMEOUT: Final = 16.0
TRIES: Final = 3

POOLS: Final[Mapping[str, Any]] = {"topics": dict(TOPICS), "pools": {"main": {}, "other": {}}}
TIMEOUTS: Final[Mapping[str, Any]] = {
    "reconciler": {
        "dispatch_timeout_seconds": 5,
        "running_timeout_seconds": RUNNING_TIMEOUT,
        "scan_interval_seconds": 3,
    }
}
FILES: Final = ConfigFiles(pools=parse_pools(POOLS, "pools"), timeouts=parse_timeouts(TIMEOUTS, "timeouts"))
SETTINGS: Final = SchedulerSettings.model_validate(
    {
        "nats_js_ack_wait": 4,
        "worker_ttl": WORKER_TTL,
        "worker_snapshot_interval": 15,
        "config_reload_interval": 120,
        "output_policy_enabled": False,
        "approval_ttl": 15,
    }
)
OPTIONS: Final = StoreOptions.from_settings(SETTINGS)
_settings: dict[tuple[str, bool], SchedulerSettings] = {}


def _settings_of(name: str, checked: bool) -> SchedulerSettings:
    found = _settings.get((name, checked))
    if found is None:
        own = {"instance_id": name, "output_policy_enabled": checked}
        found = _settings[name, checked] = SETTINGS.model_copy(update=own)
    return found


class Net:
    """Everything a process is connected to."""

    def __init__(self, loop: SimLoop, broker: SimBroker, redis: RedisNet, kernel: SimKernel, history: History) -> None:
        self.loop = loop
        self.broker = broker
        self.redis = redis
        self.kernel = kernel
        self.history = history

    def store(self, process: Process, clock: SimClock, ids: NamedIds) -> Store:
        return Store(OPTIONS, clock, ids, SimLink(self.redis, process))

    async def bus(self, process: Process, wire: SimWire) -> Bus:
        wire.events = ConnectionEvents("nats")
        return await Bus.over(wire, SETTINGS, wire.events)  # type: ignore[arg-type]  # it has what the bus uses


class Replica:
    """A scheduler that is started, killed, stopped and started again."""

    def __init__(self, name: str, net: Net, *, checked: bool) -> None:
        """`checked`: results wait for the output policy."""
        self.name = name
        self._checked = checked
        self._net = net
        self._lives = 0
        self.process = Process(name)
        self.process.alive = False
        self.clock = SimClock(net.loop)
        self.wire: SimWire | None = None
        self.scheduler: Scheduler | None = None
        self.life: Lifecycle | None = None
        self.failed: list[str] = []

    @property
    def alive(self) -> bool:
        return self.process.alive

    def start(self) -> None:
        if self.process.alive:
            return
        self._lives += 1
        self.process = Process(self.name)
        self.wire = SimWire(self._net.broker, self.process)
        self.scheduler = None
        self._note("starts")
        self._net.loop.spawn(self.process, self._run(self.process), f"{self.name} main")

    async def _run(self, process: Process) -> None:
        net, wire = self._net, self.wire
        assert wire is not None
        ids = NamedIds(f"{self.name}.{self._lives}")
        store = net.store(process, self.clock, ids)
        bus = await net.bus(process, wire)
        life = self.life = Lifecycle()
        life.on_stop(bus.aclose)
        scheduler = Scheduler(
            _settings_of(self.name, self._checked),
            FILES,
            bus=bus,
            store=store,
            kernel=SimKernelClient(net.kernel, process, self.clock),  # type: ignore[arg-type]
            output=SimOutputClient(net.kernel, process),  # type: ignore[arg-type]
            clock=self.clock,
            ids=ids,
        )
        try:
            await scheduler.start(life)
        except Exception as error:
            # As the process would: it ends, and whoever supervises it starts it again.
            self._note("start failed", str(error))
            self._net.loop.call_later(0.5, self._again, process, context=net.broker.world)
            return
        life.ready()
        self.scheduler = scheduler
        self._note("ready")
        await life.stopping.wait()
        await life.unwind()
        if life.failed:
            self.failed.append(f"{self.name} has not stopped cleanly, or crashed")
        self._note("stopped")
        self._net.loop.call_soon(self._gone, process, context=net.broker.world)

    def _again(self, process: Process) -> None:
        if process is self.process:
            self.kill("")
            self.start()

    def _gone(self, process: Process) -> None:
        if process is self.process:
            self.kill("")

    def kill(self, what: str = "killed") -> None:
        """Ends the process between two instructions."""
        if not self.process.alive:
            return
        if what:
            self._note(what)
        self._net.loop.kill(self.process)
        assert self.wire is not None
        self.wire.hang_up()
        self.scheduler = None

    def stop(self) -> None:
        """Asks the process to end, as a rolling update does."""
        if self.process.alive and self.life is not None and self.scheduler is not None:
            self._note("stops")
            self.process.context.copy().run(self.life.stop, "update")

    def _note(self, what: str, detail: str = "") -> None:
        self._net.history.add(Event(self._net.loop.time(), self.name, what, detail=detail))
