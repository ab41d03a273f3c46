"""Group commit: what one turn of the event loop wants is sent once, and the answers are handed back one by one.

Store, bus and kernel client all use it (architecture, "Concurrent calls are coalesced"). While `max_in_flight` batches
are on their way, what arrives waits and makes the next batch bigger; so batches grow with the load by themselves.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from cordum.core.errors import CordumError
from cordum.runtime import metrics

Item = TypeVar("Item")
Answer = TypeVar("Answer")

CLOSE_GRACE = 5.0  # seconds aclose() gives to what was already submitted


class OverloadedError(CordumError):
    """Too much is waiting; try again in a moment."""

    code = "overloaded"


class GroupClosedError(CordumError):
    """The connection is being closed; nothing more is sent."""

    code = "closed"


class AnswerCountError(CordumError):
    """A batch was answered with another number of answers than it had items."""

    code = "answer_count"


class GroupCommit(Generic[Item, Answer]):
    """Collects what one event-loop turn wants, sends it once, fans the answers out.

    Args:
        send: takes a batch, gives one answer per item, in order; an exception among the answers is raised to that
            item's waiter alone, an exception raised by `send` to all waiters of the batch. It must bound its own time.
        name: label of the metrics.
        max_batch: most items of one batch.
        max_in_flight: most batches on their way at once.
        max_queued: most items that wait for their turn; more are refused.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | BaseException]]],
        *,
        name: str,
        max_batch: int = 256,
        max_in_flight: int = 2,
        max_queued: int = 20_000,
    ) -> None:
        self._send = send
        self._max_batch = max_batch
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._flush_due = False
        self._closed = False
        self._running_in: asyncio.AbstractEventLoop | None = None
        self.batches = 0
        self.items = 0
        self._batch_sizes = metrics.GROUPCOMMIT_BATCH_SIZE.labels(name)
        # A gauge outlives the group it shows, hence the weak reference.
        seen = weakref.ref(self)
        metrics.GROUPCOMMIT_QUEUED.labels(name).set_function(lambda: group.queued if (group := seen()) else 0)
        metrics.GROUPCOMMIT_IN_FLIGHT.labels(name).set_function(lambda: group.in_flight if (group := seen()) else 0)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the first caller, and so of all: asking asyncio each time is a system call before 3.12."""
        if self._running_in is None:
            self._running_in = asyncio.get_running_loop()
        return self._running_in

    @property
    def queued(self) -> int:
        """Items that wait to be sent."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Batches on their way."""
        return len(self._sending)

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Puts one item into the next batch; await the future for its answer.

        Cancelling the future takes the item out if it is not yet on its way, and disturbs nobody else.

        Raises:
            OverloadedError: `max_queued` items wait already.
            GroupClosedError: after aclose().
        """
        if self._closed:
            raise GroupClosedError
        if len(self._waiting) >= self._max_queued:
            raise OverloadedError
        loop = self.loop
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if not self._flush_due and len(self._sending) < self._max_in_flight:
            self._flush_due = True
            loop.call_soon(self._flush)
        return answer

    def _flush(self) -> None:
        self._flush_due = False
        while self._waiting and len(self._sending) < self._max_in_flight:
            batch = self._take()
            if not batch:
                continue
            self.batches += 1
            self.items += len(batch)
            self._batch_sizes.observe(len(batch))
            task = self.loop.create_task(self._deliver(batch))
            self._sending.add(task)
            task.add_done_callback(self._delivered)

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        waiting = self._waiting
        count = min(len(waiting), self._max_batch)
        return [entry for entry in [waiting.popleft() for _ in range(count)] if not entry[1].done()]

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self._waiting:
            self._flush()

    async def _deliver(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._send([item for item, _ in batch])
            if len(answers) != len(batch):
                raise AnswerCountError(f"{len(batch)} items were sent and {len(answers)} answers came back")
        except asyncio.CancelledError:
            _fail(batch, GroupClosedError())
            raise
        except Exception as error:
            _fail(batch, error)
            return
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if waiter.done():
                continue
            if isinstance(answer, BaseException):
                waiter.set_exception(answer)
            else:
                waiter.set_result(answer)

    async def aclose(self, grace: float = CLOSE_GRACE) -> None:
        """Takes nothing more, waits up to `grace` seconds for what was submitted, then fails the rest."""
        self._closed = True
        deadline = self.loop.time() + grace
        while self._waiting or self._sending:
            self._flush()
            if not self._sending:
                continue
            left = deadline - self.loop.time()
            done, _ = await asyncio.wait(self._sending, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            # The done callbacks, which start the next batches, run in the turn after this one.
            await asyncio.sleep(0)
        _fail(list(self._waiting), GroupClosedError())
        self._waiting.clear()
        late = list(self._sending)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _fail(batch: list[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, waiter in batch:
        if not waiter.done():
            waiter.set_exception(error)
