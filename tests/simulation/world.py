"""One world from its beginning to its end: what a seed means, carried out."""

import contextvars
import random as stdlib_random
from random import Random
from typing import Final

import msgspec
from tests.simulation import observing
from tests.simulation.broker import SimBroker
from tests.simulation.clocks import EPOCH
from tests.simulation.gateway import Gateway
from tests.simulation.history import History
from tests.simulation.invariants import Checker
from tests.simulation.kernel import SimKernel
from tests.simulation.link import RedisNet
from tests.simulation.logs import Log
from tests.simulation.loop import SimLoop, StuckError
from tests.simulation.plan import Fault, Plan, plan_of
from tests.simulation.redis import SimRedis
from tests.simulation.replica import Net, Replica
from tests.simulation.weather import Weather, bad_weather, calm_weather
from tests.simulation.workers import Manners, SimWorker

from cordum.store import keys

PATIENCE: Final = 240.0
"""Seconds after the last fault by which every job must have ended; the longest legal way is well below."""

_STEP: Final = 1.0


class Report(msgspec.Struct, kw_only=True):
    """What became of one seed."""

    seed: int
    violations: list[str]
    jobs: int
    ended_once: int
    lost: int
    doubled: int
    faults: dict[str, int]
    seconds: float
    events: list[str] = []


class World:
    """Everything there is in one seed."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        # The product asks the common generator for its jitter.
        stdlib_random.seed(seed)
        self.loop = SimLoop()
        self.history = History(trace=trace)
        self.log = Log(self.loop, self.history, trace=trace)
        self.plan: Plan = plan_of(self.random)
        self.weather: Weather = calm_weather() if self.plan.calm else bad_weather(self.random)
        outside = contextvars.copy_context()
        self.redis = SimRedis(self._server_time)
        self.redis_net = RedisNet(self.loop, self.redis, self.random, self.history, outside)
        self.broker = SimBroker(self.loop, self.random, self.history, outside)
        self.kernel = SimKernel(self.loop, self.random, self.history)
        self.net = Net(self.loop, self.broker, self.redis_net, self.kernel, self.history)
        self.outside = outside
        self.gateway = Gateway(self.net, self.random, self.plan.wishes)
        self.replicas = [
            Replica(f"replica-{number}", self.net, checked=self.plan.checked) for number in range(self.plan.replicas)
        ]
        self.manners = Manners(self.random)
        if self.plan.haunted:
            self.manners.haunt()
        self.workers = [
            SimWorker(
                f"worker-{number}",
                plan.pool,
                plan.slots,
                loop=self.loop,
                broker=self.broker,
                random=self.random,
                history=self.history,
                manners=self.manners,
                beat=0.9,
                keep=self._keep,
            )
            for number, plan in enumerate(self.plan.workers)
        ]
        self._set(self.weather)
        observing.watch(self)

    def _keep(self, key: str) -> None:
        """A worker writes a result, as workers do: past everything that can go wrong."""
        self.redis.execute(("SET", key, b'{"answer":42}'))

    def _server_time(self) -> float:
        return EPOCH + self.loop.time()

    def _set(self, weather: Weather) -> None:
        self.weather = weather
        self.redis_net.weather = self.broker.weather = self.kernel.weather = weather

    def run(self) -> Report:
        """Runs it to its end and checks what happened."""
        violations: list[str] = []
        with self.log.taken():
            try:
                self._begin()
                self.loop.run_until(_never, self.plan.trouble_until)
                self._heal()
                violations += self._settle()
            except StuckError as error:
                violations.append(str(error))
            finally:
                self.log.close()
                self.loop.end()
        checker = Checker(self)
        violations += checker.violations()
        return Report(
            seed=self.seed,
            violations=violations,
            jobs=len(self.gateway.accepted),
            ended_once=checker.ended_once,
            lost=checker.lost,
            doubled=checker.doubled,
            faults=dict(self.history.faults),
            seconds=self.loop.time(),
        )

    def _begin(self) -> None:
        at = self.loop.call_at
        for replica in self.replicas:
            at(0.3 * self.random.random(), replica.start, context=self.outside)
        at(0.01, self.gateway.start, context=self.outside)
        for worker, plan in zip(self.workers, self.plan.workers, strict=True):
            at(0.1 + plan.at, worker.start, context=self.outside)
        for fault in self.plan.faults:
            at(fault.at, self._strike, fault, context=self.outside)

    # Faults

    def _strike(self, fault: Fault) -> None:
        replica = self.replicas[fault.which % len(self.replicas)]
        worker = self.workers[fault.which % len(self.workers)]
        seconds, later = fault.seconds, self.loop.call_later
        self.history.fault(self.loop.time(), "nemesis", fault.kind, f"{fault.which} {seconds:.2f} s")
        match fault.kind:
            case "kill replica":
                replica.kill()
                later(0.1 + seconds, replica.start, context=self.outside)
            case "stop replica":
                replica.stop()
                later(0.1 + seconds, replica.start, context=self.outside)
            case "stall replica":
                self.loop.stall(replica.process, seconds)
            case "cut bus":
                if replica.wire is not None:
                    replica.wire.break_off(0.1 + seconds)
            case "nats down":
                wires = [one.wire for one in self.replicas if one.alive] + [
                    one.wire for one in self.workers if one.alive
                ]
                for wire in (*wires, self.gateway.wire):
                    if wire is not None and wire.process.alive:
                        wire.break_off(0.1 + seconds + 0.3 * self.random.random())
            case "redis down":
                self.weather.redis_down = True
                later(seconds, self._redis_back, context=self.outside)
            case "cut redis":
                self.weather.redis_cut_off.add(replica.name)
                later(seconds, self.weather.redis_cut_off.discard, replica.name, context=self.outside)
            case "lose lease":
                for key in (keys.RECONCILER_LOCK, keys.REPLAYER_LOCK):
                    self.redis.execute(("DEL", key))
            case "jump clock":
                replica.clock.offset += self.random.choice((-1, 1)) * seconds * 4
            case "kill worker":
                worker.kill()
                if self.random.random() < 0.6:
                    later(0.1 + seconds, worker.start, context=self.outside)
            case "stall worker":
                self.loop.stall(worker.process, 0.5 + seconds * 2.0)
            case "cut worker":
                if worker.wire is not None and worker.alive:
                    worker.wire.break_off(0.1 + seconds)
            case "kill gateway":
                self.gateway.kill()
                later(0.1 + seconds, self.gateway.start, context=self.outside)
            case _:
                self.weather.kernel_down = True
                later(seconds, self._kernel_back, context=self.outside)

    def _redis_back(self) -> None:
        self.weather.redis_down = False

    def _kernel_back(self) -> None:
        self.weather.kernel_down = False

    def _heal(self) -> None:
        """From here on nothing goes wrong: whoever is down is started, and each pool has a worker."""
        self._set(calm_weather())
        self.manners.good()
        served: set[str] = set()
        for replica in self.replicas:
            replica.clock.offset = 0.0
            self.loop.call_later(0.1, replica.start, context=self.outside)
        self.loop.call_later(0.1, self.gateway.start, context=self.outside)
        for worker in self.workers:
            if worker.alive:
                served.add(worker.pool)
        for worker in self.workers:
            if worker.pool not in served:
                served.add(worker.pool)
                self.loop.call_later(0.5, worker.start, context=self.outside)

    def _settle(self) -> list[str]:
        """Runs on until everything is as it should be in the end; what is not, when patience is over."""
        until = self.loop.time() + PATIENCE
        while True:
            self.loop.run_until(_never, self.loop.time() + _STEP)
            for replica in self.replicas:
                replica.start()  # one that was still stopping has stopped by now
            if not (unsettled := observing.unsettled(self)):
                return []
            if self.loop.time() >= until:
                return unsettled


def _never() -> bool:
    return False


def run(seed: int, *, trace: bool = False) -> Report:
    """Runs one seed."""
    world = World(seed, trace=trace)
    report = world.run()
    if trace:
        report.events = [str(event) for event in world.history.events]
    return report
