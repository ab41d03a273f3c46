"""Jobs: the record, what belongs to it, and the indexes that find it.

The record is the truth and is only ever changed by a script that checks it first. Indexes follow, in the same write
where the outcome could be foreseen; they are mended from the record where it could not.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId, TraceId
from cordum.core.jobs.approvals import Ballot
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord, record_from_hash
from cordum.core.jobs.states import TERMINAL, JobState
from cordum.runtime.clock import Clock
from cordum.store import indexes, keys, scripts, transitions
from cordum.store.batch import Batcher
from cordum.store.decision_log import DECISIONS_KEPT, DecisionLog, LoggedDecision
from cordum.store.errors import AnswerLostError, JobExistsError, NotRunError, StoreUnavailableError
from cordum.store.job_cache import RecordCache
from cordum.store.job_lists import JobLists, JobQuery, pairs
from cordum.store.link import Command, Payload, Reply
from cordum.store.moves import Moves
from cordum.store.options import StoreOptions
from cordum.store.pages import Page
from cordum.store.transitions import Applied, Refused
from cordum.store.votes import Voted

NO_TENANT: Final = TenantId("")
NO_TRACE: Final = TraceId("")
_HOUSEKEEPING: Final = 64
"""Every so many creations of a tenant, its indexes are trimmed."""

_BEGINNING: Final = Micros(0)


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be written.

    Attributes:
        record: must carry id, state, tenant, created_at and updated_at.
        request: the JobRequest as protojson.
        context: the input the worker will read; b"" = none of ours.
        decision: what policy said about it, for the decision log.
    """

    record: JobRecord
    request: bytes
    context: bytes = b""
    decision: LoggedDecision | None = None


class JobDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A job with its input and output; None where there is none (any more)."""

    record: JobRecord
    context: bytes | None
    result: bytes | None


class Jobs:
    """All jobs of all tenants. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions, clock: Clock, decision_log: DecisionLog) -> None:
        self._batcher = batcher
        self._decision_log = decision_log
        self._ttl = options.meta_ttl
        self._data_ttl = options.data_ttl
        self._idempotency_ttl = options.idempotency_ttl
        self._cache = RecordCache()
        self._lists = JobLists(batcher, self._cache, clock)
        self._moves = Moves(batcher, options)
        self._created: dict[TenantId, int] = {}

    async def create(self, job: NewJob) -> None:
        """Writes a new job: record, request, context, indexes, first event. One round trip, two in a cluster.

        Calling it again with the same job does no harm. A job that has a record has its request and its context, and is
        found by whoever looks through its state; what else is missing when Redis fails half-way follows with its moves.

        Raises:
            JobExistsError: another job has this id; it is left as it was.
            AnswerLostError: nobody can know whether there is a record.
            StoreUnavailableError: any other means that there is none.
        """
        record = job.record
        ttl = self._ttl
        before: list[Command] = [
            # First of all: a connection may break anywhere in between, and a job that is in no list is never found.
            indexes.standing_in(record),
            # NX: a job that turns out to exist keeps its own request and input.
            ("SET", keys.job_request(record.id), job.request, "NX", "EX", ttl),
        ]
        if job.context:
            waits = record.state is JobState.APPROVAL_REQUIRED
            kept = max(ttl, self._data_ttl) if waits else self._data_ttl
            before.append(("SET", keys.context(record.id), job.context, "NX", "EX", kept))
        if job.decision is not None:
            before += self._decision_log.commands(job.decision)
        meta = keys.job_meta(record.id)
        after: list[Command] = [
            ("EVALSHA", scripts.CREATE.sha, 1, meta, ttl, *transitions.record_fields(record)),
            *indexes.created(record, ttl),
            *self._housekeeping(record.tenant, record.updated_at),
        ]
        if self._batcher.is_scattered:
            # The nodes of a cluster fail one by one: the record waits until all it needs is surely there.
            await self._write_first(before)
            before = []
        written = await self._write(before, after)
        if written != 1:
            doubled = indexes.events((record.state,), record.updated_at)
            await self._moves.mend(record.id, None, tenant=record.tenant, false_events=doubled)
            if written == 0:
                raise JobExistsError(f"there is a job {record.id} already")

    async def _write_first(self, commands: list[Command]) -> None:
        """Writes what a record needs. Raises StoreUnavailableError, which means that there is no record yet."""
        try:
            await self._batcher.submit(commands)
        except AnswerLostError as error:
            raise NotRunError(error.message) from error

    async def _write(self, before: list[Command], after: list[Command]) -> object:
        """Writes a record, the first of `after`, behind what it needs and before what follows from it.

        Returns:
            What the script said of the record, also when something behind it was lost.
        """
        try:
            return (await self._batcher.submit([*before, *after]))[len(before)]
        except StoreUnavailableError as error:
            written = error.outcomes[len(before)] if error.outcomes else error
            if isinstance(written, StoreUnavailableError):
                raise type(written)(error.message) from error
            return written

    def _housekeeping(self, tenant: TenantId, now: Micros) -> list[Command]:
        count = self._created.get(tenant, 0)
        if len(self._created) > 10_000:
            self._created.clear()
        self._created[tenant] = count + 1
        if count % _HOUSEKEEPING:
            return []
        return [
            ("ZREMRANGEBYRANK", keys.JOB_RECENT, 0, -1 - indexes.RECENT_KEPT),
            ("ZREMRANGEBYSCORE", keys.job_tenant_index(tenant), "-inf", now - self._ttl * 1_000_000),
            ("EXPIRE", keys.job_tenant_active(tenant), self._ttl),
        ]

    async def claim_idempotency_key(self, tenant: TenantId, key: str, job_id: JobId) -> JobId | None:
        """Makes the key ours, or answers the id of the job that has it."""
        claim: Command = (
            "SET", keys.job_idempotency(tenant, key), job_id, "NX", "GET", "EX", self._idempotency_ttl
        )  # fmt: skip
        holder = (await self._batcher.submit([claim]))[0]
        return JobId(holder) if isinstance(holder, str) and holder != job_id else None

    async def release_idempotency_key(self, tenant: TenantId, key: str, job_id: JobId) -> None:
        """Gives the key back if this job holds it."""
        await self._batcher.submit([("EVALSHA", scripts.RELEASE.sha, 1, keys.job_idempotency(tenant, key), job_id)])

    async def get(self, job_id: JobId) -> JobRecord | None:
        """The record as it stands, or None.

        Raises:
            BadRecordError: what is stored cannot be read.
        """
        return self._record(job_id, (await self._batcher.submit([("HGETALL", keys.job_meta(job_id))]))[0])

    async def get_many(self, job_ids: Sequence[JobId]) -> list[JobRecord | None]:
        """The records in the order of the ids."""
        if not job_ids:
            return []
        replies = await self._batcher.submit([("HGETALL", keys.job_meta(job_id)) for job_id in job_ids])
        return [self._record(job_id, reply) for job_id, reply in zip(job_ids, replies, strict=True)]

    async def get_detail(self, job_id: JobId) -> JobDetail | None:
        """The record with input and output. A second round trip only when the result is not at its usual key."""
        usual = keys.result(job_id)
        replies = await self._batcher.submit(
            [
                ("HGETALL", keys.job_meta(job_id)),
                Payload(("GET", keys.context(job_id))),
                Payload(("GET", usual)),
            ]
        )
        record = self._record(job_id, replies[0])
        if record is None:
            return None
        result = replies[2]
        stored_at = keys.payload_key(record.result_ptr)
        if not stored_at:
            result = None
        elif stored_at != usual:
            result = (await self._batcher.submit([Payload(("GET", stored_at))]))[0]
        return JobDetail(record=record, context=_bytes(replies[1]), result=_bytes(result))

    def _record(self, job_id: JobId, reply: Reply) -> JobRecord | None:
        if not isinstance(reply, list) or not reply:
            return None
        return self._cache.put(record_from_hash(job_id, pairs(reply)))

    async def apply(
        self, job_id: JobId, change: Change, *, now: Micros, known: JobRecord | None = None
    ) -> Applied | Refused:
        """Makes a move if the record still allows it; of many who try, one wins. See Moves.apply."""
        return await self._moves.apply(job_id, change, now, known)

    async def vote(self, job_id: JobId, ballot: Ballot, *, now: Micros) -> Voted | Refused:
        """Casts one person's vote on a parked job, and makes the move if it was the last one needed. See Moves.vote."""
        return await self._moves.vote(job_id, ballot, now)

    async def annotate(self, job_id: JobId, fields: Mapping[str, str], *, allowed_from: frozenset[JobState]) -> bool:
        """Writes fields of a job that stands in one of these states, without moving it. False: it does not."""
        return await self._moves.annotate(job_id, fields, allowed_from)

    async def repair_indexes(self, job_ids: Sequence[JobId], tenant: TenantId | None = None) -> None:
        """Writes the index entries of these jobs again, as their records demand; jobs without a record get none.

        `tenant` is a hint that helps to clean up after a job whose record is gone.
        """
        for job_id in job_ids:
            await self._moves.mend(job_id, None, tenant=tenant or NO_TENANT)

    async def list_page(
        self,
        tenant: TenantId,
        *,
        states: frozenset[JobState] = frozenset(),
        topic: str = "",
        team: str = "",
        trace_id: TraceId | None = None,
        worker_id: str = "",
        updated_after: Micros | None = None,
        updated_before: Micros | None = None,
        limit: int = 50,
        cursor: Micros | None = None,
    ) -> Page[JobRecord]:
        """A tenant's jobs, newest change first. See JobLists.page."""
        query = JobQuery(
            tenant=tenant,
            states=states,
            topic=topic,
            team=team,
            trace_id=trace_id or NO_TRACE,
            worker_id=worker_id,
            updated_after=updated_after,
            updated_before=updated_before,
            limit=limit,
            cursor=cursor,
        )
        return await self._lists.page(query)

    async def ids_in_state(
        self, state: JobState, older_than: Micros, limit: int, *, newer_than: Micros = _BEGINNING
    ) -> list[JobId]:
        """Jobs of all tenants that came to stand in a state up to a moment (and since another one), oldest first."""
        return await self._ids_until(keys.STATE_INDEX[state], older_than, limit, newer_than)

    async def due_deadlines(self, now: Micros, limit: int, *, newer_than: Micros = _BEGINNING) -> list[JobId]:
        """Jobs whose deadline has passed (and is not before another moment), the longest overdue first."""
        return await self._ids_until(keys.JOB_DEADLINE, now, limit, newer_than)

    async def _ids_until(self, index: str, until: Micros, limit: int, since: Micros = _BEGINNING) -> list[JobId]:
        command: Command = ("ZRANGEBYSCORE", index, since or "-inf", until, "LIMIT", 0, limit)
        found = (await self._batcher.submit([command]))[0]
        return [JobId(str(job_id)) for job_id in found] if isinstance(found, list) else []

    async def trim_indexes(self, now: Micros) -> None:
        """Drops what outlived its record from the indexes of ended jobs; for the reconciler, now and then."""
        horizon = now - self._ttl * 1_000_000
        await self._batcher.submit(
            [("ZREMRANGEBYSCORE", keys.STATE_INDEX[state], "-inf", horizon) for state in TERMINAL]
            + [("ZREMRANGEBYRANK", keys.JOB_RECENT, 0, -1 - indexes.RECENT_KEPT)]
        )

    async def counts(self) -> dict[JobState, int]:
        """How many jobs of all tenants stand in each state."""
        replies = await self._batcher.submit([("ZCARD", key) for key in keys.STATE_INDEX.values()])
        return {state: count for state, count in zip(keys.STATE_INDEX, replies, strict=True) if isinstance(count, int)}

    async def active_count(self, tenant: TenantId) -> int:
        """How many jobs of a tenant have not ended."""
        count = (await self._batcher.submit([("SCARD", keys.job_tenant_active(tenant))]))[0]
        return count if isinstance(count, int) else 0

    async def request(self, job_id: JobId) -> bytes | None:
        """The JobRequest as protojson."""
        return _bytes((await self._batcher.submit([Payload(("GET", keys.job_request(job_id)))]))[0])

    async def context(self, job_id: JobId) -> bytes | None:
        """The input of the job."""
        return _bytes((await self._batcher.submit([Payload(("GET", keys.context(job_id)))]))[0])

    async def payload(self, ptr: str) -> bytes | None:
        """What a pointer leads to; None when there is nothing, or it is none we follow."""
        key = keys.payload_key(ptr)
        return _bytes((await self._batcher.submit([Payload(("GET", key))]))[0]) if key else None

    async def events(self, job_id: JobId) -> list[str]:
        """What happened to the job, oldest first: JSON `{ts, state}`."""
        return _texts((await self._batcher.submit([("LRANGE", keys.job_events(job_id), 0, -1)]))[0])

    async def push_decision(self, job_id: JobId, decision: str) -> None:
        """Keeps one safety decision (JSON) for the record."""
        key = keys.job_decisions(job_id)
        await self._batcher.submit(
            [("LPUSH", key, decision), ("LTRIM", key, 0, DECISIONS_KEPT - 1), ("EXPIRE", key, self._ttl)]
        )

    async def decisions(self, job_id: JobId, limit: int) -> list[str]:
        """The safety decisions about a job as JSON, newest first."""
        return _texts((await self._batcher.submit([("LRANGE", keys.job_decisions(job_id), 0, max(limit, 1) - 1)]))[0])

    async def put_result(self, job_id: JobId, result: bytes) -> str:
        """Writes a result of our own making and answers the pointer to it."""
        await self._batcher.submit([("SET", keys.result(job_id), result, "EX", self._data_ttl)])
        return keys.pointer(keys.result(job_id))

    async def expire_result(self, ptr: str) -> bool:
        """Gives a payload the end it was written without. False when the pointer is not one we follow, or dangles."""
        key = keys.payload_key(ptr)
        return bool(key) and (await self._batcher.submit([("EXPIRE", key, self._data_ttl)]))[0] == 1


def _bytes(reply: Reply) -> bytes | None:
    return reply if isinstance(reply, bytes) else None


def _texts(reply: Reply) -> list[str]:
    return [str(entry) for entry in reply] if isinstance(reply, list) else []
