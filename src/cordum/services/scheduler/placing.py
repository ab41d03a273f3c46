"""A job's way from "submitted" to "with a worker": topic, decision, limits, worker (spec-scheduler 8.2 and 8.3).

Submits, parked jobs and replayed ones all go this one way. Every step is fenced by the record, so going it twice, here
or in another process, places a job once.
"""

import asyncio
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
from cordum.core.routing.lanes import INSTALLATION, tenant_home
from cordum.core.routing.placement import Need, NoPlace, need_of, place, pools_of
from cordum.core.routing.routes import Routes
from cordum.core.routing.workers import Readiness, Worker
from cordum.runtime import boundary
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import parking
from cordum.services.scheduler.approval_trail import ApprovalTrail
from cordum.services.scheduler.constraints import own_deadline, tries_of
from cordum.services.scheduler.deadlines import Deadlines
from cordum.services.scheduler.deciding import Deciding
from cordum.services.scheduler.dispatching import Dispatched, Dispatcher
from cordum.services.scheduler.limiting import Limiting
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.payloads import PayloadGate
from cordum.services.scheduler.recording import Recorder
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.settling import BEATEN_RETRY, Settling
from cordum.services.scheduler.ticket import SETTLED, Later, Placed, Ticket
from cordum.services.scheduler.waiting import PATIENCE, Group, Waiter, WaitingRoom

log = get_logger(__name__)

UNSENT_RETRY: Final = 2.0
"""Seconds until a job is tried again whose dispatch could not be published (spec-scheduler 13)."""

LIMIT_RETRY: Final = 2.0
"""Seconds until a job is tried again that a limit holds back, should nobody tell us of room (spec-scheduler 13)."""

YIELDS: Final = 2
"""Turns of the event loop a newcomer gives to those who waited before it."""


class Placing:
    """Decides and places tickets."""

    def __init__(
        self,
        *,
        deciding: Deciding,
        routes: LiveRoutes,
        payloads: PayloadGate,
        deadlines: Deadlines,
        fleet: Fleet,
        readiness: Readiness,
        dispatcher: Dispatcher,
        settling: Settling,
        parking: Parking,
        room: WaitingRoom,
        limiting: Limiting,
        trail: ApprovalTrail,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._deciding = deciding
        self._routes = routes
        self._payloads = payloads
        self._deadlines = deadlines
        self._fleet = fleet
        self._readiness = readiness
        self._dispatcher = dispatcher
        self._settling = settling
        self._parking = parking
        self._room = room
        self._limiting = limiting
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
        if ticket.record.workflow_id:
            ticket.record = await self._deadlines.timed(ticket.record)
        record = ticket.record
        if not ticket.completes_itself and not self._routes.now.registry.admits(record.tenant, record.topic):
            boundary.record(boundary.Event.UNKNOWN_TOPIC, record.topic)
            log.warning(
                "unknown_topic", event="unknown_topic", job_id=record.id, topic=record.topic, tenant=record.tenant
            )
            return await self._settling.fail(record, f"unknown topic {record.topic}", "unknown_topic")
        if schema_id := self._payloads.schema_of(self._routes.now.registry, record.tenant, record.topic):
            fault = await self._payloads.fault(ticket, schema_id)
            if fault is not None:
                return await self._settling.fail(record, fault.message, fault.code)
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
        deadline = own_deadline(record, ticket.request)
        overdue = self._deadlines.passed(record, deadline)
        if overdue and await self._settling.end(record, lifecycle.time_out(record, "timeout: deadline expired")):
            return SETTLED
        limits = await self._limiting.limits_of(record, verdict)
        until = self._clock.monotonic() + patience
        waiter: Waiter | None = None
        over = False
        while True:
            reached = self._limiting.reached(record, limits) if limits else None
            if reached is not None:
                return await self._no_place(ticket, verdict, reached, ())
            routes = self._routes.now
            need = self._need(ticket, routes)
            pools = pools_of(need, routes)
            found: Worker | NoPlace = NoPlace.OVERLOADED
            if waiter is not None or not await self._others_first(pools):
                self._turn += 1
                now = self._clock.monotonic()
                found = place(need, pools, self._fleet, self._readiness, now, self._turn, routes.offers)
            if isinstance(found, Worker):
                if not limits:
                    return await self._dispatch(ticket, verdict, found)
                reached = await self._limiting.enter(record, limits)
                if reached is not None:
                    return await self._no_place(ticket, verdict, reached, ())
                # Others may have taken the slot meanwhile.
                found = place(
                    need, pools, self._fleet, self._readiness, self._clock.monotonic(), self._turn, routes.offers
                )
                if isinstance(found, Worker):
                    return await self._dispatch_limited(ticket, verdict, found)
                self._limiting.leave(record)
            if waiter is not None:
                self._room.pass_on(waiter)
            if found is NoPlace.NO_POOL or over:
                return await self._no_place(ticket, verdict, found, pools)
            if waiter is None:
                group = Group(ticket.rank, record.tenant, record.topic)
                waiter = Waiter(pools, group, since=record.created_at or micros(self._clock.now()))
            waiter.pools = pools
            left = until - self._clock.monotonic()
            if left <= 0 or not self._room.make_room(waiter):
                return await self._no_place(ticket, verdict, found, pools)
            over = not await self._room.wait(waiter, left)

    def _need(self, ticket: Ticket, routes: Routes) -> Need:
        record, request = ticket.record, ticket.request
        requires = (*request.meta.requires, *routes.requires_of(record.tenant, record.topic))
        return need_of(record.topic, record.tenant, request.labels, requires)

    async def _others_first(self, pools: tuple[PoolName, ...]) -> bool:
        """Lets those go first who waited and were just given a slot; True when there are always more of them."""
        for _ in range(YIELDS):
            if not self._room.promised(pools):
                return False
            await asyncio.sleep(0)
        return self._room.promised(pools)

    async def _dispatch_limited(self, ticket: Ticket, verdict: Verdict, worker: Worker) -> Placed:
        """The same for a job that has a place under a limit: it keeps it, unless it does not run."""
        placed = await self._dispatch(ticket, verdict, worker)
        if isinstance(placed, Later) and placed.delay == BEATEN_RETRY:
            self._limiting.keep(ticket.record.id)
        elif self._fleet.slots.get(ticket.record.id) is None:
            self._limiting.leave(ticket.record)
        return placed

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
                home, delay = tenant_home(ticket.record.tenant), LIMIT_RETRY + retry.JITTER * random.random()
            case NoPlace.TIER_LIMIT:
                home, delay = INSTALLATION, LIMIT_RETRY + retry.JITTER * random.random()
            case NoPlace.OVERLOADED:
                home, delay = pools[0], retry.CEILING
            case NoPlace.NO_WORKERS | NoPlace.NO_POOL:
                if tries >= MAX_SCHEDULING_ATTEMPTS:
                    text = f"max scheduling retries exceeded (attempts={tries}): {reason.value}"
                    return await self._settling.fail(ticket.record, text, "max_scheduling_retries")
                home = pools[0] if pools else parking.UNROUTED
                delay = retry.placement_delay(tries, random.random())
                # Woken by something that then did not fit, it has not waited as long as a try is to wait.
                tries += 0 if ticket.early and tries else 1
        return await self._park(ticket, verdict, home, reason.value, delay, tries)

    async def _park(
        self, ticket: Ticket, verdict: Verdict, home: PoolName, reason: str, delay: float, tries: int
    ) -> Placed:
        lane = await self._parking.park(
            ticket.record, home, reason, delay=delay, tries=tries, verdict=verdict, rank=ticket.rank
        )
        if lane is not None:
            ticket.lane = lane
        return SETTLED


def _granted(verdict: Verdict) -> Verdict:
    """The demand for approval, answered: an allow with the same constraints."""
    decision = Decision.ALLOW if verdict.constraints.is_empty else Decision.ALLOW_WITH_CONSTRAINTS
    return msgspec.structs.replace(verdict, decision=decision, reason="approval granted")
