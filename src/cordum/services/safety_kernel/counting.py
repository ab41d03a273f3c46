"""Counts requests for the velocity rules of the policy in force (spec-safety section 4.8).

A policy without such rules costs nothing here. With them, all that a batch of requests asks goes to Redis in one round
trip, before the judge is asked.
"""

import asyncio
import uuid
from collections.abc import Sequence
from enum import Enum
from typing import Final

from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.policy.rules import NOTHING_COUNTED, Counted
from cordum.core.policy.velocity import VelocityQuery
from cordum.runtime import logging, metrics
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.settings.output import FailMode
from cordum.services.safety_kernel.judge import Judge
from cordum.store.errors import StoreError
from cordum.store.store import Store
from cordum.store.velocity import Look, Window

PATIENCE: Final = 0.5
"""Seconds to wait for Redis; a decision is wanted."""
_LONGEST_MEMBER: Final = 256
_REMIND_EVERY: Final = 30.0  # seconds

_log = logging.get_logger(__name__)


class Recording(Enum):
    """Whether a request takes its place in the windows it is counted in, or only asks what would be."""

    RECORD = "record"
    PEEK = "peek"


class Counting:
    """Answers what the judge must know about the past before it decides."""

    def __init__(self, judge: Judge, clock: Clock, fail_mode: FailMode) -> None:
        """With `fail_mode` closed, a rule that nobody could count asks a human; open, it does not apply."""
        self._judge = judge
        self._clock = clock
        self._fail_mode = fail_mode
        self._store: Store | None = None
        self._reminded_at = float("-inf")

    def use(self, store: Store | None) -> None:
        """From now on counts here; with None nothing can be counted."""
        self._store = store

    async def counted(self, requests: Sequence[bytes], recording: Recording) -> Sequence[Counted]:
        """One answer per request for `Judge.answer_batch`, or none at all when there is nothing to count.

        Each is a serialised PolicyCheckRequest. Never raises.
        """
        if not self._judge.counts:
            return ()
        while True:
            policy = self._judge.policy
            found = await asyncio.gather(*(self._one(request, recording) for request in requests))
            if self._judge.policy is policy:
                return found
            # Another policy came into force meanwhile, and it may count other things.

    async def one(self, request: bytes, recording: Recording) -> Counted:
        """The same for a single request."""
        found = await self.counted((request,), recording)
        return found[0] if found else NOTHING_COUNTED

    async def _one(self, request: bytes, recording: Recording) -> Counted:
        queries = self._judge.queries(request)
        if not queries:
            return NOTHING_COUNTED
        looks = await self._look(queries, _member(request), recording)
        if looks is None:
            if self._fail_mode is FailMode.OPEN:
                return NOTHING_COUNTED
            return Counted(uncounted=frozenset(query.rule_id for query in queries))
        return Counted(
            exceeded=frozenset(query.rule_id for query, look in zip(queries, looks, strict=True) if look.exceeded)
        )

    async def _look(self, queries: Sequence[VelocityQuery], member: str, recording: Recording) -> Sequence[Look] | None:
        """None when nobody could count; that is said, but not for each request."""
        why = "no Redis is configured"
        if self._store is not None:
            velocity = self._store.velocity
            count = velocity.count if recording is Recording.RECORD else velocity.peek
            windows = [Window(query.rule_id, query.key, query.window_s, query.max_requests) for query in queries]
            try:
                async with asyncio.timeout(PATIENCE):
                    return await count(windows, member, unix_micros(self._clock))
            except (StoreError, TimeoutError) as error:
                why = str(error) or "Redis did not answer in time"
        metrics.VELOCITY_UNAVAILABLE.inc(len(queries))
        now = self._clock.monotonic()
        if now - self._reminded_at >= _REMIND_EVERY:
            self._reminded_at = now
            _log.error(
                "error: velocity rules cannot be counted",
                event="velocity_unavailable",
                fail_mode=self._fail_mode.value,
                error=why,
            )
        return None


def _member(request: bytes) -> str:
    """What the request is counted as: its job's id, so that one job counts once however often it is asked about."""
    try:
        job_id: str = safety_pb2.PolicyCheckRequest.FromString(request).job_id
    except DecodeError:
        job_id = ""
    return job_id[:_LONGEST_MEMBER] or uuid.uuid4().hex
