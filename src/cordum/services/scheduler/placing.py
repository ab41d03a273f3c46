"""A job's way from "submitted" to "with a worker": topic, decision, limits, worker (spec-scheduler 8.2 and 8.3).

Submits, parked jobs and replayed ones all go this one way. Every step is fenced by the record, so going it twice, here
or in another process, places a job once.
"""

import random
from typing import Final

import msgspec

from cordum.bus.errors import BadPacketError
from cordum.bus.messages import job_hash
from cordum.core.ids import PoolName, micros
from cordum.core.jobs import approval_use, lifecycle, retry
from cordum.core.jobs.lifecycle import MAX_SCHEDULING_ATTEMPTS
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Decision, Verdict
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.placement import NoPlace, need_of, place, pools_of
from cordum.core.routing.workers import Readiness, Worker
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import parking
from cordum.services.scheduler.approval_trail import ApprovalTrail
from cordum.services.scheduler.constraints import own_deadline, tries_of
from cordum.services.scheduler.deciding import Deciding
from cordum.services.scheduler.dispatching import Dispatched, Dispatcher
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.recording import Recorder
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.settling import BEATEN_RETRY, Settling
from cordum.services.scheduler.ticket import SETTLED, Later, Placed, Ticket
from cordum.services.scheduler.waiting import PATIENCE, Waiter, WaitingRoom

log = get_logger(__name__)

UNSENT_RETRY: Final = 2.0
"""Seconds until a job is tried again whose dispatch could not be published (spec-scheduler 13)."""

TENANT_RETRY: Final = 2.0
"""Seconds until a job is tried again whose tenant has as many jobs at work as it may (spec-scheduler 13)."""


class Placing:
    """Decides and places tickets."""

    def __init__(
        self,
        *,
        deciding: Deciding,
        routes: LiveRoutes,
        fleet: Fleet,
        readiness: Readiness,
        dispatcher: Dispatcher,
        settling: Settling,
        parking: Parking,
        room: WaitingRoom,
        trail: ApprovalTrail,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._deciding = deciding
        self._routes = routes
        self._fleet = fleet
        self._readiness = readiness
        self._dispatcher = dispatcher
        self._settling = settling
        self._parking = parking
        self._room = room
        self._trail = trail
        self._recorder = recorder
        self._clock = clock
        self._turn = 0

    async def place(self, ticket: Ticket, patience: float = PATIENCE) -> Placed:
        """Takes one waiting job as far as it can go now.

        Args:
            ticket: its record is PENDING, SCHEDULED or RETRYING.
            patience: seconds it may wait in memory for a slot before it is parked.

        Raises:
            KernelUnavailableError: there is no decision, so nothing was done.
            StoreError, BusError: it is not known how far it came; trying again is safe.
        """
        record = ticket.record
        if not ticket.completes_itself and not self._routes.now.registry.admits(record.tenant, record.topic):
            log.warning(
                "unknown_topic", event="unknown_topic", job_id=record.id, topic=record.topic, tenant=record.tenant
            )
            return await self._settling.fail(record, f"unknown topic {record.topic}", "unknown_topic")
        if record.attempts >= MAX_SCHEDULING_ATTEMPTS:
            reason = f"max scheduling retries exceeded (attempts={record.attempts})"
            return await self._settling.fail(record, reason, "max_scheduling_retries")
        verdict = await self._deciding.decide(ticket)
        if verdict.decision is Decision.REQUIRE_APPROVAL:
            verdict = self._with_approval(ticket, verdict)
        await self._recorder.decided(record, verdict)
        if verdict.decision.permits:
            if ticket.completes_itself:
                return self._used(record, verdict, await self._settling.complete(record, verdict))
            return await self._find_worker(ticket, verdict, patience)
        if verdict.decision is Decision.THROTTLE:
            return await self._park(
                ticket, verdict, parking.DELAYED, parking.THROTTLED, parking.THROTTLE_DELAY, record.placement_tries
            )
        if verdict.decision is Decision.REQUIRE_APPROVAL:
            return await self._settling.ask_person(record, verdict, job_hash(ticket.request))
        return await self._settling.deny(record, verdict)

    def _with_approval(self, ticket: Ticket, verdict: Verdict) -> Verdict:
        """The demand for approval, answered if people have approved this job; else as it was, saying why not."""
        record = ticket.record
        if record.approval_status != "approved":
            return verdict
        asked = job_hash(ticket.request)
        # A gate asks for a person's word and nothing else: under a new policy it would ask for the same word again.
        covers = approval_use.covers_gate if ticket.completes_itself else approval_use.covers
        if covers(record, verdict, asked):
            return _granted(verdict)
        why = approval_use.why_not(record, verdict, asked)
        log.warning(
            "an approval does not cover this job as it is now",
            event="approval.revision_mismatch",
            job_id=record.id,
            rule_id=verdict.rule_id,
            why=why,
        )
        self._trail.mismatch(record, verdict, why)
        return msgspec.structs.replace(verdict, reason=f"{verdict.reason} ({why})" if verdict.reason else why)

    async def _find_worker(self, ticket: Ticket, verdict: Verdict, patience: float) -> Placed:
        record = ticket.record
        tries = tries_of(record, verdict.constraints, self._routes.now.timeouts)
        if record.attempts >= tries:
            last = f", last: {record.failure_reason}" if record.failure_reason else ""
            reason = f"max retries exceeded (attempts={record.attempts}, max_retries={tries - 1}){last}"
            return await self._settling.fail(record, reason, "max_retries_exceeded")
        request = ticket.request
        need = need_of(record.topic, record.tenant, request.labels, tuple(request.meta.requires))
        most_at_once = verdict.constraints.budgets.max_concurrent_jobs
        until = self._clock.monotonic() + patience
        waiter: Waiter | None = None
        deadline = own_deadline(record, request)
        overdue = 0 < deadline <= micros(self._clock.now())
        if overdue and await self._settling.end(record, lifecycle.time_out(record, "timeout: deadline expired")):
            return SETTLED
        while True:
            if most_at_once and self._fleet.slots.of_tenant(record.tenant) >= most_at_once:
                return await self._no_place(ticket, verdict, NoPlace.TENANT_LIMIT, ())
            pools = pools_of(need, self._routes.now)
            now = self._clock.monotonic()
            self._turn += 1
            found = place(need, pools, self._fleet, self._readiness, now, self._turn)
            if isinstance(found, Worker):
                return await self._dispatch(ticket, verdict, found)
            if waiter is not None:
                self._room.pass_on(waiter)
            if found is NoPlace.NO_POOL or now >= until or not self._room.has_room(pools):
                return await self._no_place(ticket, verdict, found, pools)
            waiter = waiter or Waiter(pools)
            waiter.pools = pools
            if not await self._room.wait(waiter, until - now):
                return await self._no_place(ticket, verdict, found, pools)

    async def _dispatch(self, ticket: Ticket, verdict: Verdict, worker: Worker) -> Placed:
        try:
            outcome = await self._dispatcher.dispatch(ticket, verdict, worker)
        except BadPacketError as error:
            return await self._settling.fail(ticket.record, f"cannot be dispatched: {error.message}", "dispatch_failed")
        match outcome:
            case Dispatched.SENT:
                return self._used(ticket.record, verdict, SETTLED)
            case Dispatched.BEATEN:
                return Later(BEATEN_RETRY)
            case Dispatched.UNSENT:
                return Later(UNSENT_RETRY)

    def _used(self, record: JobRecord, verdict: Verdict, placed: Placed) -> Placed:
        if placed is SETTLED and record.approval_status == "approved":
            self._trail.used(record, verdict)
        return placed

    async def _no_place(self, ticket: Ticket, verdict: Verdict, reason: NoPlace, pools: tuple[PoolName, ...]) -> Placed:
        """Parks a job that found no worker. Only a lack of workers counts as a try, not that they are busy."""
        tries = ticket.record.placement_tries
        match reason:
            case NoPlace.TENANT_LIMIT:
                lane, delay = parking.tenant_lane(ticket.record.tenant), TENANT_RETRY + retry.JITTER * random.random()
            case NoPlace.OVERLOADED:
                lane, delay = pools[0], retry.CEILING
            case NoPlace.NO_WORKERS | NoPlace.NO_POOL:
                if tries >= MAX_SCHEDULING_ATTEMPTS:
                    text = f"max scheduling retries exceeded (attempts={tries}): {reason.value}"
                    return await self._settling.fail(ticket.record, text, "max_scheduling_retries")
                lane = pools[0] if pools else parking.UNROUTED
                delay = retry.placement_delay(tries, random.random())
                tries += 1
        return await self._park(ticket, verdict, lane, reason.value, delay, tries)

    async def _park(
        self, ticket: Ticket, verdict: Verdict, lane: PoolName, reason: str, delay: float, tries: int
    ) -> Placed:
        if await self._parking.park(ticket.record, lane, reason, delay=delay, tries=tries, verdict=verdict):
            ticket.lane = lane
        return SETTLED


def _granted(verdict: Verdict) -> Verdict:
    """The demand for approval, answered: an allow with the same constraints."""
    decision = Decision.ALLOW if verdict.constraints.is_empty else Decision.ALLOW_WITH_CONSTRAINTS
    return msgspec.structs.replace(verdict, decision=decision, reason="approval granted")
