"""Publishing submits and counting who handles them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from cordum.bus import ACK, Bus, Consumer, Delivery, Outcome, subjects

OpenBus = Callable[..., Awaitable[Bus]]
"""The fixture `open_bus`: settings in, a bus with its streams out."""


class Tally:
    """Handles submits: counts each payload, and answers what it is told to."""

    def __init__(self, answer: Outcome = ACK) -> None:
        self.seen: Counter[bytes] = Counter()
        self.deliveries: list[Delivery] = []
        self.poisoned: list[tuple[bytes, str]] = []
        self.answer = answer
        self.hold: asyncio.Event | None = None
        self._changed = asyncio.Event()

    async def handle(self, delivery: Delivery) -> Outcome:
        self.seen[delivery.data] += 1
        self.deliveries.append(delivery)
        self._changed.set()
        if self.hold is not None:
            await self.hold.wait()
        return self.answer

    async def put_away(self, delivery: Delivery, reason: str) -> None:
        self.poisoned.append((delivery.data, reason))
        self._changed.set()

    async def until(self, true: Callable[[], bool], within: float = 20.0) -> None:
        """Waits until a delivery makes `true()` so."""
        async with asyncio.timeout(within):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def consume(self, bus: Bus, *, max_in_flight: int = 1024, batch: int = 256) -> Consumer:
        return await bus.consume(
            stream=subjects.STREAM_SYS,
            subject=subjects.JOB_SUBMIT,
            queue=subjects.SCHEDULER_QUEUE,
            handler=self.handle,
            on_poison=self.put_away,
            max_in_flight=max_in_flight,
            batch=batch,
        )


async def submit(bus: Bus, *numbers: int) -> None:
    """Publishes a submit per number, all at once."""
    await asyncio.gather(*(bus.publish(subjects.JOB_SUBMIT, str(n).encode(), msg_id=f"jobreq:{n}") for n in numbers))


def payloads(*numbers: int) -> set[bytes]:
    return {str(n).encode() for n in numbers}
