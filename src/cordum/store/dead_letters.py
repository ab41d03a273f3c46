"""Dead letters: jobs that did not end as they should, kept until somebody has looked (spec-gateway section 4)."""

from datetime import UTC, datetime

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.runtime.clock import Clock
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.link import Command, Payload, Reply
from cordum.store.options import StoreOptions
from cordum.store.pages import Page


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One entry.

    Attributes:
        status: `JOB_STATUS_...`, as workers report it.
        reason: for people; starts with the words the runbook sorts by.
        reason_code: for programs.
        created_at: RFC 3339; "" = now, when it is added.
    """

    job_id: JobId
    tenant: TenantId
    topic: str = ""
    status: str = ""
    reason: str = ""
    reason_code: str = ""
    last_state: str = ""
    attempts: int = 0
    created_at: str = ""

    def to_json(self) -> bytes:
        """The entry as stored and shown: with the names the SDK and older documents use beside our own."""
        return msgspec.json.encode(
            msgspec.structs.asdict(self)
            | {
                "id": self.job_id,
                "error": self.reason,
                "failed_at": self.created_at,
                "retry_count": self.attempts,
                "original_state": self.last_state,
            }
        )


class DeadLetters:
    """The dead letters of all tenants. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions, clock: Clock) -> None:
        self._batcher = batcher
        self._ttl = options.dead_letter_ttl
        self._kept = options.dead_letters_kept
        self._clock = clock

    async def add(self, entry: DeadLetter) -> bool:
        """Keeps an entry. False: there is one for this job already, and the first one stands.

        Beyond the greatest number kept, the oldest entries give way.
        """
        now = self._clock.now()
        if not entry.created_at:
            moment = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
            entry = msgspec.structs.replace(entry, created_at=moment)
        at = int(now * 1_000_000)
        tenant_index = keys.dlq_tenant_index(entry.tenant)
        replies = await self._batcher.submit(
            [
                ("SET", keys.dlq_entry(entry.job_id), entry.to_json(), "NX", "EX", self._ttl),
                # NX here too: a second report does not make the entry younger.
                ("ZADD", tenant_index, "NX", at, entry.job_id),
                ("ZADD", keys.DLQ_INDEX, "NX", int(now), entry.job_id),
                ("ZREMRANGEBYSCORE", tenant_index, "-inf", at - self._ttl * 1_000_000),
                ("ZREMRANGEBYSCORE", keys.DLQ_INDEX, "-inf", int(now) - self._ttl),
                ("ZCARD", keys.DLQ_INDEX),
            ]
        )
        count = replies[-1]
        if isinstance(count, int) and count > self._kept:
            await self._drop_oldest(count - self._kept)
        return replies[0] == "OK"

    async def _drop_oldest(self, number: int) -> None:
        found = (await self._batcher.submit([("ZRANGE", keys.DLQ_INDEX, 0, number - 1)]))[0]
        job_ids = [JobId(str(job_id)) for job_id in found] if isinstance(found, list) else []
        if not job_ids:
            return
        stored = await self._batcher.submit([Payload(("GET", keys.dlq_entry(job_id))) for job_id in job_ids])
        commands: list[Command] = []
        for job_id, entry in zip(job_ids, (_entry(reply) for reply in stored), strict=True):
            if entry is not None:
                commands.append(("ZREM", keys.dlq_tenant_index(entry.tenant), job_id))
            commands.append(("DEL", keys.dlq_entry(job_id)))
        await self._batcher.submit([*commands, ("ZREM", keys.DLQ_INDEX, *job_ids)])

    async def get(self, tenant: TenantId, job_id: JobId) -> DeadLetter | None:
        """The entry of a job, if it is this tenant's."""
        entry = _entry((await self._batcher.submit([Payload(("GET", keys.dlq_entry(job_id)))]))[0])
        return entry if entry is not None and entry.tenant == tenant else None

    async def page(self, tenant: TenantId, limit: int, cursor: Micros | None = None) -> Page[DeadLetter]:
        """A tenant's entries, newest first; see Page for the cursor."""
        index = keys.dlq_tenant_index(tenant)
        upper: int | str = "+inf" if cursor is None else cursor
        while True:
            listing: Command = ("ZREVRANGEBYSCORE", index, upper, "-inf", "WITHSCORES", "LIMIT", 0, limit + 1)
            found = (await self._batcher.submit([listing]))[0]
            texts = [str(text) for text in found] if isinstance(found, list) else []
            job_ids, times = [JobId(job_id) for job_id in texts[::2]], [int(time) for time in texts[1::2]]
            if not job_ids:
                return Page(())
            stored = await self._batcher.submit([Payload(("GET", keys.dlq_entry(job_id))) for job_id in job_ids])
            entries = [_entry(reply) for reply in stored]
            gone = [job_id for job_id, entry in zip(job_ids, entries, strict=True) if entry is None]
            if gone:
                # They ran out, or were dropped; without them the page would be short, so it is read again.
                await self._batcher.submit([("ZREM", index, *gone), ("ZREM", keys.DLQ_INDEX, *gone)])
                continue
            end = min(limit, len(job_ids))
            # The next cursor is a time: entries of one microsecond must not be torn apart.
            while 1 < end < len(job_ids) and times[end] == times[end - 1]:
                end -= 1
            shown = tuple(entry for entry in entries[:end] if entry is not None and entry.tenant == tenant)
            return Page(shown, Micros(times[end - 1] - 1) if end < len(job_ids) else None)

    async def remove(self, tenant: TenantId, job_id: JobId) -> bool:
        """Removes an entry of this tenant. Of several who try, one gets True."""
        ours = (await self._batcher.submit([("ZREM", keys.dlq_tenant_index(tenant), job_id)]))[0]
        if ours != 1:
            return False
        replies = await self._batcher.submit([("DEL", keys.dlq_entry(job_id)), ("ZREM", keys.DLQ_INDEX, job_id)])
        return replies[0] == 1

    async def count(self) -> int:
        """Entries of all tenants."""
        count = (await self._batcher.submit([("ZCARD", keys.DLQ_INDEX)]))[0]
        return count if isinstance(count, int) else 0


def _entry(reply: Reply) -> DeadLetter | None:
    if not isinstance(reply, bytes):
        return None
    try:
        return msgspec.json.decode(reply, type=DeadLetter)
    except msgspec.MsgspecError:
        return None
