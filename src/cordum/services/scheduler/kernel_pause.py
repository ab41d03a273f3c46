"""While the safety kernel does not answer, taking more messages would only turn them round."""

import asyncio

from cordum.bus import Consumer
from cordum.rpc.kernel_client import KernelClient


class KernelPause:
    """Pauses the consumer of submits until the kernel's circuit is closed again."""

    def __init__(self, kernel: KernelClient) -> None:
        self._kernel = kernel
        self._consumer: Consumer | None = None
        self._waiting: asyncio.Task[None] | None = None

    def controls(self, consumer: Consumer) -> None:
        """Sets which consumer is paused."""
        self._consumer = consumer

    def begin(self) -> None:
        """The kernel did not answer. Does nothing while a pause is on."""
        if self._consumer is None or (self._waiting is not None and not self._waiting.done()):
            return
        self._consumer.pause()
        self._waiting = asyncio.create_task(self._wait(self._consumer), name="kernel-pause")

    async def _wait(self, consumer: Consumer) -> None:
        await self._kernel.wait_closed()
        consumer.resume()

    async def aclose(self) -> None:
        """Ends the waiting; the consumer stays as it is."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait({self._waiting})
