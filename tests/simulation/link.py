"""A process's connection to the simulated Redis: latency, and everything that can become of a batch of commands."""

import asyncio
import contextvars
from collections.abc import Sequence
from random import Random

from tests.simulation.history import History
from tests.simulation.loop import Process, SimLoop
from tests.simulation.redis import SimRedis
from tests.simulation.redis_values import RedisError, SimReply
from tests.simulation.weather import Weather

from cordum.store.errors import AnswerLostError, NotRunError
from cordum.store.link import Command, Outcome, Payload, refusal

LOST = "the connection to Redis broke"


class RedisNet:
    """The one server and the way to it."""

    def __init__(
        self, loop: SimLoop, redis: SimRedis, random: Random, history: History, world: contextvars.Context
    ) -> None:
        self.loop = loop
        self.redis = redis
        self.random = random
        self.history = history
        self.world = world
        self.weather = Weather()

    def latency(self) -> float:
        weather, random = self.weather, self.random
        if weather.spike and random.random() < weather.spike:
            self.history.fault(self.loop.time(), "net", "redis_slow", told=False)
            return weather.longest_spike * random.random()
        return 0.0002 + 0.0015 * random.random()


class SimLink:
    """The link of one process (see cordum.store.link.Link)."""

    def __init__(self, net: RedisNet, process: Process) -> None:
        self._net = net
        self._process = process

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        """See Link."""
        net = self._net
        loop, random, weather = net.loop, net.random, net.weather
        if weather.redis_down or self._process.name in weather.redis_cut_off:
            await asyncio.sleep(0.001)
            net.history.fault(loop.time(), self._process.name, "redis_away", told=False)
            return [NotRunError("Redis cannot be reached")] * len(commands)
        batch = _Batch(net, commands, loop.create_future())
        now = loop.time()
        arrives = now + net.latency()
        trouble = weather.redis_trouble
        if trouble and random.random() < trouble:
            return await self._troubled(batch, arrives, deadline)
        if len(commands) > 1 and random.random() < weather.redis_splits:
            at = random.randrange(1, len(commands))
            loop.call_at(arrives, batch.run, 0, at, context=net.world)
            arrives += net.latency()
            loop.call_at(arrives, batch.run, at, len(commands), context=net.world)
        else:
            loop.call_at(arrives, batch.run, 0, len(commands), context=net.world)
        if arrives < deadline - 0.01:
            await batch.answered
            if random.random() < 0.2:
                # The answer takes a while, too: others may be served meanwhile.
                await asyncio.sleep(0.001 * random.random())
            return batch.outcomes
        return await self._until(batch, deadline)

    async def _until(self, batch: "_Batch", deadline: float) -> list[Outcome]:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(batch.answered)
        except TimeoutError:
            return [AnswerLostError("Redis did not answer in time")] * len(batch.commands)
        return batch.outcomes

    async def _troubled(self, batch: "_Batch", arrives: float, deadline: float) -> list[Outcome]:
        """Something is wrong with this batch; which it is, its share of the chances decides."""
        net = self._net
        loop, random, weather = net.loop, net.random, net.weather
        count = len(batch.commands)
        kinds = ("redis_refuses", "redis_drops", "redis_loses", "redis_late", "redis_cuts", "redis_forgets")
        kind = random.choices(kinds, [getattr(weather, name) for name in kinds])[0]
        net.history.fault(loop.time(), self._process.name, kind, str(batch.commands[0][:1]), told=False)
        breaks = min(deadline, loop.time() + random.choice((0.0, 0.01, 0.5, 3.0)) * random.random())
        match kind:
            case "redis_refuses":
                await asyncio.sleep(0.001)
                return [NotRunError("Redis cannot be reached")] * count
            case "redis_drops":
                done = 0
            case "redis_loses":
                loop.call_at(arrives, batch.run, 0, count, context=net.world)
                done = 0
            case "redis_late":
                loop.call_at(deadline + 1.5 * random.random(), batch.run, 0, count, context=net.world)
                breaks, done = deadline, 0
            case "redis_cuts":
                run = random.randrange(count + 1)
                loop.call_at(arrives, batch.run, 0, run, context=net.world)
                breaks, done = max(breaks, arrives + 0.001), random.randrange(run + 1)
            case _:
                net.redis.forget_scripts()
                loop.call_at(arrives, batch.run, 0, count, context=net.world)
                return await self._until(batch, deadline)
        await asyncio.sleep(max(0.0, breaks - loop.time()))
        return [*batch.outcomes[:done], *([AnswerLostError(LOST)] * (count - done))]

    async def aclose(self) -> None:
        """Nothing to close."""


class _Batch:
    """Commands on their way, and what became of each."""

    def __init__(self, net: RedisNet, commands: Sequence[Command], answered: asyncio.Future[None]) -> None:
        self.commands = commands
        self.answered = answered
        self.outcomes: list[Outcome] = [NotRunError("never sent")] * len(commands)
        self._net = net

    def run(self, start: int, end: int) -> None:
        """Runs some of them, at the server."""
        redis, outcomes = self._net.redis, self.outcomes
        for at in range(start, end):
            command = self.commands[at]
            try:
                reply = redis.execute(command)
            except RedisError as error:
                outcomes[at] = refusal(str(error))
            else:
                outcomes[at] = _raw(reply) if type(command) is Payload else _text(reply)
        if end == len(self.commands) and not self.answered.done():
            self.answered.set_result(None)


def _raw(reply: SimReply) -> Outcome:
    if isinstance(reply, list):
        return [_raw(item) for item in reply]  # type: ignore[misc]  # a part of a reply is never an error
    return bytes(reply) if isinstance(reply, bytes) else reply


def _text(reply: SimReply) -> Outcome:
    if isinstance(reply, bytes):
        return reply.decode("utf-8", "replace")
    if isinstance(reply, list):
        return [_text(item) for item in reply]  # type: ignore[misc]
    return reply
