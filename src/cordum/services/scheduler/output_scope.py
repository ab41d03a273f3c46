"""Which results are sent to the output policy at all: what the kernel says its rules could touch.

A plain job must not wait for a policy that does not concern it, and a rule that has just been published must not miss
one. So what is known of the kernel's policy counts only while it is fresh and nothing speaks against it. A change that
is announced, another snapshot in a verdict, or a kernel that has not answered for a while mean that every result is
checked, until the kernel has said again what its rules are about.
"""

import asyncio
from typing import Final

from cordum.core.errors import CordumError
from cordum.core.policy.output_scope import OutputScope, covers
from cordum.rpc.output_client import OutputClient
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger

log = get_logger(__name__)

ASK_EVERY: Final = 1.0
TRUSTED_FOR: Final = 3.0
"""Seconds for which the kernel's word holds; it is asked again long before."""
UNSETTLED: Final = 2.0
"""Seconds after an announced change during which every result is checked: kernels take a moment to load it."""
MOST_TOPICS: Final = 10_000


class ScopeWatch:
    """Keeps up with the kernel's output rules."""

    def __init__(self, client: OutputClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._snapshot = ""
        self._scope: OutputScope | None = None
        self._read_at = 0.0
        self._unsettled_until = 0.0
        self._topics: dict[str, bool] = {}
        self._asked = asyncio.Event()

    def may_touch(self, topic: str) -> bool:
        """Whether the result of a job on this topic has to be checked."""
        now = self._clock.monotonic()
        scope = self._scope
        if scope is None or now - self._read_at > TRUSTED_FOR or now < self._unsettled_until:
            return True
        known = self._topics.get(topic)
        if known is None:
            if len(self._topics) >= MOST_TOPICS:
                self._topics.clear()
            known = self._topics[topic] = covers(scope, topic)
        return known

    def changed(self) -> None:
        """A change of policy is announced: until the kernels have it, every result is checked."""
        self._scope = None
        self._unsettled_until = self._clock.monotonic() + UNSETTLED
        self._asked.set()

    def saw(self, snapshot: str) -> None:
        """A verdict named this snapshot; when it is another, what we know is of the past (or of another replica)."""
        if snapshot != self._snapshot and self._scope is not None and snapshot:
            self._scope = None
            self._asked.set()

    async def rest(self) -> None:
        """Waits until it is time to ask again."""
        try:
            await asyncio.wait_for(self._asked.wait(), ASK_EVERY)
        except TimeoutError:
            return
        self._asked.clear()
        await self._clock.sleep(ASK_EVERY / 10)  # many words about one change make one question

    async def ask(self) -> None:
        """Asks the kernel; what it does not answer grows old by itself."""
        asked_at = self._clock.monotonic()
        try:
            snapshot, scope = await self._client.scope()
        except CordumError as error:
            log.debug("the scope of the output policy is not known", event="output_scope_unknown", error=error.message)
            return
        if snapshot != self._snapshot or scope != self._scope:
            self._topics.clear()
        self._snapshot, self._scope, self._read_at = snapshot, scope, asked_at
