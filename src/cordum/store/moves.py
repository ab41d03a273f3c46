"""Moves of jobs: the script on the record, the indexes in the same write, and mending them when the guess was wrong."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.core.jobs.approvals import Ballot
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import TERMINAL, JobState
from cordum.store import indexes, keys, scripts, transitions, votes
from cordum.store.batch import Batcher
from cordum.store.errors import StoreError, StoreUnavailableError
from cordum.store.indexes import EVENTS_KEPT, Step
from cordum.store.link import Command, Payload, Reply
from cordum.store.options import StoreOptions
from cordum.store.transitions import STANDING_FIELDS, Applied, Refused, Standing
from cordum.store.votes import Cast, Voted

_MEND_ROUNDS: Final = 5


class Moves:
    """Changes records, and keeps the indexes true."""

    def __init__(self, batcher: Batcher, options: StoreOptions) -> None:
        self._batcher = batcher
        self._meta_ttl = options.meta_ttl
        self._data_ttl = options.data_ttl

    async def apply(self, job_id: JobId, change: Change, now: Micros, known: JobRecord | None) -> Applied | Refused:
        """Makes a move if the record still allows it; of many who try, one wins.

        Args:
            known: the record as read before. With it the indexes are written in the same round trip; should the record
                turn out to be another by now, they are mended in a second one. Without it they follow in a second one,
                and so they do when the job ends by nobody's message but our own.
        """
        call = transitions.transition(job_id, change, now, self._meta_ttl)
        if known is None or known.state not in change.allowed_from or _ends_for_good(change):
            outcome, standing = transitions.read_transition((await self._batcher.submit([call]))[0])
            if isinstance(outcome, Applied):
                entries = self._entries(job_id, change, _step(outcome))
                await self._tidy_events(job_id, change, await self._batcher.submit(entries))
            elif standing is not None and standing.state is change.to and change.to in TERMINAL:
                # Perhaps it was this very move, and the entries' node of a cluster was away.
                await self.mend(job_id, standing, tenant=standing.tenant)
            return outcome
        guess = Step(
            tenant=known.tenant,
            trace_id=known.trace_id,
            before=known.state,
            stamp=max(now, Micros(known.updated_at + 1)),
            created_at=known.created_at,
            deadline=known.deadline_unix,
        )
        try:
            replies = await self._batcher.submit([call, *self._entries(job_id, change, guess)])
        except StoreUnavailableError as error:
            await self._unsay(job_id, change, guess.stamp, error.outcomes)
            raise
        outcome, standing = transitions.read_transition(replies[0])
        if isinstance(outcome, Refused):
            false_events = indexes.events(change.trail, guess.stamp)
            await self.mend(job_id, standing, tenant=known.tenant, false_events=false_events)
        elif (outcome.previous, outcome.updated_at, outcome.deadline) != (guess.before, guess.stamp, guess.deadline):
            await self.mend(job_id, None, tenant=outcome.tenant)
        else:
            await self._tidy_events(job_id, change, replies)
        return outcome

    async def _unsay(self, job_id: JobId, change: Change, stamp: Micros, outcomes: Sequence[object]) -> None:
        """Takes back what the history was told of a move that was not made, or whose answer is lost.

        So it goes in a cluster when the record's node is away and the history's is not. Whoever makes the move again
        tells it again, and where it was made after all, whoever finds that out mends the history.
        """
        if change.trail and outcomes and isinstance(outcomes[0], StoreError) and isinstance(outcomes[-1], int):
            history = keys.job_events(job_id)
            with contextlib.suppress(StoreError):
                await self._batcher.submit(
                    [("LREM", history, -1, event) for event in indexes.events(change.trail, stamp)]
                )

    async def vote(self, job_id: JobId, ballot: Ballot, now: Micros) -> Voted | Refused:
        """Casts a vote in one step; the indexes follow in a second round trip, once it is known what it did."""
        voted = votes.read_vote((await self._batcher.submit([votes.vote(job_id, ballot, now, self._meta_ttl)]))[0])
        if isinstance(voted, Refused):
            return voted
        if voted.outcome is Cast.MADE:
            await self._batcher.submit(self._entries(job_id, ballot.granted, _step(voted.move)))
        else:
            await self._touch(job_id, voted.move.previous, voted.move.tenant, str(voted.move.updated_at))
        return voted

    def _entries(self, job_id: JobId, change: Change, step: Step) -> list[Command]:
        return indexes.moved(job_id, change, step, meta_ttl=self._meta_ttl, data_ttl=self._data_ttl)

    async def _tidy_events(self, job_id: JobId, change: Change, replies: Sequence[Reply]) -> None:
        """Keeps the list of events within its bounds, which is seldom any work."""
        length = replies[-1]
        if not change.trail or not isinstance(length, int):
            return
        key = keys.job_events(job_id)
        if length > EVENTS_KEPT:
            await self._batcher.submit([("LTRIM", key, -EVENTS_KEPT, -1)])
        elif length <= len(change.trail):
            # The list had run out before its job did; it must not come back without an end.
            await self._batcher.submit([("EXPIRE", key, self._meta_ttl)])

    async def annotate(self, job_id: JobId, fields: Mapping[str, str], allowed_from: frozenset[JobState]) -> bool:
        """Writes fields of a job that stands in one of these states, without moving it. False: it does not.

        The job keeps its place in every list (its time moves by one microsecond).
        """
        call: Command = (
            "EVALSHA",
            scripts.ANNOTATE.sha,
            1,
            keys.job_meta(job_id),
            transitions.state_list(allowed_from),
            *transitions.flat(fields),
        )
        match (await self._batcher.submit([call]))[0]:
            case [str(state), str(tenant), str(stamp)]:
                await self._touch(job_id, JobState(state), TenantId(tenant), stamp)
                return True
            case _:
                return False

    async def _touch(self, job_id: JobId, state: JobState, tenant: TenantId, stamp: str) -> None:
        """Gives the entries of a job that stays where it is its new time."""
        # XX: should the job move meanwhile, its entry in the old index must not come back.
        await self._batcher.submit(
            [
                ("ZADD", keys.STATE_INDEX[state], "XX", "GT", stamp, job_id),
                ("ZADD", keys.job_tenant_index(tenant), "XX", "GT", stamp, job_id),
                ("ZADD", keys.JOB_RECENT, "XX", "GT", stamp, job_id),
            ]
        )

    async def mend(
        self, job_id: JobId, standing: Standing | None, *, tenant: TenantId, false_events: Sequence[str] = ()
    ) -> None:
        """Writes a job's index entries again, as the record demands.

        Reads the record again behind its own writes, until it finds it unchanged: whoever moves the job later writes
        its entries later. After a few rounds it leaves the job to those who keep moving it.

        Args:
            standing: what is known of the record; None = read it first.
            tenant: whose index to clean when there is no record.
            false_events: entries of `job:events` for a move that was refused.
        """
        read: Command = ("HMGET", keys.job_meta(job_id), *STANDING_FIELDS)
        commands: list[Command] = [("LREM", keys.job_events(job_id), -1, event) for event in false_events]
        if standing is None:
            standing = transitions.read_standing((await self._batcher.submit([*commands, read]))[-1])
            commands = []
            if standing is None:
                tenant = tenant or await self._tenant_asked_for(job_id)
        for _ in range(_MEND_ROUNDS):
            commands += indexes.restored(job_id, standing, tenant, self._meta_ttl)
            current = transitions.read_standing((await self._batcher.submit([*commands, read]))[-1])
            if current == standing:
                return
            standing, commands = current, []

    async def _tenant_asked_for(self, job_id: JobId) -> TenantId:
        """Whose a job without a record is: its creation broke off, or it outlived its record. "" = nobody knows."""
        stored = (await self._batcher.submit([Payload(("GET", keys.job_request(job_id)))]))[0]
        try:
            return TenantId(msgspec.json.decode(stored, type=_Asked).tenant if isinstance(stored, bytes) else "")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return TenantId("")


def _ends_for_good(change: Change) -> bool:
    """Whether a move ends a job and will not be made again should its script, and only that, not have run.

    Indexes of ended jobs are looked through by nobody: a job that stands there and has not ended would never be found.
    A worker's result comes again until it counts.
    """
    return change.to in TERMINAL and "worker_id" not in change.fence


class _Asked(msgspec.Struct):
    """What a stored request says of its tenant."""

    tenant: str = msgspec.field(name="tenantId", default="")


def _step(outcome: Applied) -> Step:
    return Step(
        tenant=outcome.tenant,
        trace_id=outcome.trace_id,
        before=outcome.previous,
        stamp=outcome.updated_at,
        created_at=outcome.created_at,
        deadline=outcome.deadline,
    )
