"""The audit log: per tenant one stream, every entry chained to the one before it (spec-auth section 7.3).

The hash of an entry depends on the entry before it, so appending is a compare-and-set on the end of the stream: one
script on one key, for as many events as wait. A process that is alone needs one round trip per batch; whoever finds
that another was faster chains its events anew.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from cordum.core.audit import chain, wire
from cordum.core.audit.chain import EMPTY, ChainKey, Head
from cordum.core.audit.event import AuditEvent
from cordum.core.audit.verify import MAX_GAPS, Report, Seen, Verifier
from cordum.core.audit.wire import BadEventError, ChainEntry
from cordum.core.ids import Micros, TenantId
from cordum.runtime.clock import Clock
from cordum.runtime.groupcommit import GroupCommit
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.errors import AnswerLostError, StoreConflictError, StoreUnavailableError
from cordum.store.link import Command, Payload, Reply
from cordum.store.options import StoreOptions

_TRIES: Final = 64
_PAUSE: Final = 0.02  # seconds, at most, before a lost race is run again
_CHUNK: Final = 500  # entries read at a time
_LOOK_BACK: Final = 2_000  # entries searched for an event whose append was never answered
_SEARCHED: Final = 20_000  # entries one search looks through at most
_HEADS_KEPT: Final = 10_000
_SKEW_MS: Final = 60_000
"""How far the clocks of Redis and of whoever wrote an event may be apart."""


class Found(msgspec.Struct, frozen=True):
    """What a search found.

    Attributes:
        items: the page, newest first.
        total: how many matched among the entries looked through.
        truncated: whether older entries were not looked through.
    """

    items: tuple[AuditEvent, ...]
    total: int
    truncated: bool


class AuditLog:
    """The chains of all tenants. Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock
        self._retention = options.audit_retention
        self._most = options.audit_entries_kept
        named = [ChainKey.of(secret) for secret in options.audit_keys if secret]
        self._key = named[0] if named else None
        self._keys = {key.name: key for key in named}
        self._heads: dict[TenantId, Head] = {}
        self._in_doubt: dict[TenantId, set[str]] = {}
        # One batch at a time, so that the head we remember is the one the next batch continues.
        self._group: GroupCommit[AuditEvent, None] = GroupCommit(self._send, name="audit", max_in_flight=1)

    async def append(self, event: AuditEvent) -> None:
        """Puts an event at the end of its tenant's chain; returns once it is there.

        An append whose answer was lost may be called again with the same event: it is there once.

        Raises:
            StoreError: it is not there, or it is unknown whether it is.
            OverloadedError: too much waits already.
        """
        await self._group.submit(event)

    async def aclose(self) -> None:
        """Sends what still waits."""
        await self._group.aclose()

    async def _send(self, events: Sequence[AuditEvent]) -> list[BaseException | None]:
        by_tenant: dict[TenantId, list[int]] = {}
        for at, event in enumerate(events):
            by_tenant.setdefault(event.tenant, []).append(at)
        outcomes = await asyncio.gather(
            *(self._append(tenant, [events[at] for at in places]) for tenant, places in by_tenant.items()),
            return_exceptions=True,
        )
        answers: list[BaseException | None] = [None] * len(events)
        for places, outcome in zip(by_tenant.values(), outcomes, strict=True):
            for at in places:
                answers[at] = outcome
        return answers

    async def _append(self, tenant: TenantId, events: Sequence[AuditEvent]) -> None:
        if tenant in self._in_doubt:
            events = await self._without_those_there(tenant, events)
        entries = [wire.to_entry(event) for event in events]
        if not entries:
            return
        head = self._heads.pop(tenant, None) or await self._head(tenant)
        for turn in range(_TRIES):
            chained, after = chain.sealed(entries, head, self._key)
            try:
                reply = (await self._batcher.submit([self._call(tenant, head, chained)]))[0]
            except AnswerLostError:
                self._in_doubt.setdefault(tenant, set()).update(event.id for event in events)
                raise
            if not reply:
                self._remember(tenant, after)
                return
            head = _head_of(reply)
            if turn > 2:
                await self._clock.sleep(random.random() * _PAUSE)
        raise StoreConflictError("too many write to this audit chain at once")

    def _call(self, tenant: TenantId, head: Head, chained: Sequence[ChainEntry]) -> Command:
        oldest = int((self._clock.now() - self._retention) * 1000)
        call: list[str | bytes | int] = [
            "EVALSHA",
            scripts.APPEND_AUDIT.sha,
            1,
            keys.audit_chain(tenant),
            head.hash,
            max(oldest, 0),
            self._most,
        ]
        for entry in chained:
            call += (entry.seq, entry.event_hash, wire.canonical(entry))
        return tuple(call)

    def _remember(self, tenant: TenantId, head: Head) -> None:
        if len(self._heads) >= _HEADS_KEPT:
            self._heads.clear()
        self._heads[tenant] = head

    async def _head(self, tenant: TenantId) -> Head:
        entries = _entries((await self._batcher.submit([_back(tenant, "+", "-", 1)]))[0])
        return Head(entries[0].seq, entries[0].hash) if entries else EMPTY

    async def _without_those_there(self, tenant: TenantId, events: Sequence[AuditEvent]) -> list[AuditEvent]:
        """The events without those an append has written that was never answered."""
        doubted = self._in_doubt[tenant]
        if doubted.isdisjoint(event.id for event in events):
            return list(events)
        found: set[str] = set()
        for entry in _entries((await self._batcher.submit([_back(tenant, "+", "-", _LOOK_BACK)]))[0]):
            try:
                found.add(wire.parse(entry.event).extra.get("id", ""))
            except BadEventError:
                continue
        doubted.difference_update(event.id for event in events)
        if not doubted:
            del self._in_doubt[tenant]
        return [event for event in events if event.id not in found]

    async def page(
        self,
        tenant: TenantId,
        wanted: Callable[[AuditEvent], bool],
        *,
        limit: int,
        offset: int = 0,
        after: Micros | None = None,
    ) -> Found:
        """The events that are wanted, newest first, looking back as far as `after` or as far as a search may look."""
        oldest = "-" if after is None else str(max(after // 1000 - _SKEW_MS, 0))
        newest, looked, total = "+", 0, 0
        items: list[AuditEvent] = []
        while looked < _SEARCHED:
            entries = _entries((await self._batcher.submit([_back(tenant, newest, oldest, _CHUNK)]))[0])
            for entry in entries:
                try:
                    event = wire.to_event(wire.parse(entry.event))
                except BadEventError:
                    continue
                if wanted(event):
                    total += 1
                    if offset < total <= offset + limit:
                        items.append(event)
            if len(entries) < _CHUNK:
                return Found(tuple(items), total, truncated=False)
            looked += len(entries)
            newest = f"({entries[-1].id}"
        return Found(tuple(items), total, truncated=True)

    async def verify(
        self, tenant: TenantId, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 10_000
    ) -> Report:
        """Checks a chain, or the part of it written between two moments (Unix milliseconds)."""
        # Before anything is read: what is appended meanwhile makes the chain longer, never shorter.
        known = self._heads.get(tenant)
        verifier = Verifier(self._keys)
        newest = "+" if until_ms is None else str(until_ms)
        position = "-"
        if since_ms is not None:
            position = str(since_ms)
            before = _entries((await self._batcher.submit([_back(tenant, str(max(since_ms - 1, 0)), "-", 1)]))[0])
            if before:
                verifier.continue_after(before[0])
        left, complete = limit, False
        while left > 0 and verifier.gaps < MAX_GAPS:
            count = min(left, _CHUNK)
            command: Command = Payload(("XRANGE", keys.audit_chain(tenant), position, newest, "COUNT", count))
            entries = _entries((await self._batcher.submit([command]))[0])
            for entry in entries:
                verifier.see(entry)
            left -= len(entries)
            if len(entries) < count:
                complete = True
                break
            position = f"({entries[-1].id}"
        if complete and until_ms is None and known is not None:
            verifier.must_reach(known)
        return verifier.report(window_hours=round(self._retention / 3600))


def _back(tenant: TenantId, newest: str, oldest: str, count: int) -> Command:
    return Payload(("XREVRANGE", keys.audit_chain(tenant), newest, oldest, "COUNT", count))


def _head_of(reply: Reply) -> Head:
    match reply:
        case [str(seq), str(hash_)] if seq.isdigit():
            return Head(int(seq), hash_)
        case _:
            raise StoreUnavailableError("the store's answer about an audit chain makes no sense")


def _entries(reply: Reply) -> list[Seen]:
    seen: list[Seen] = []
    for item in reply if isinstance(reply, list) else ():
        match item:
            case [bytes(entry_id), list(members)]:
                fields = dict(zip(members[::2], members[1::2], strict=False))
                seq, hash_, event = fields.get(b"seq"), fields.get(b"hash"), fields.get(b"event")
                seen.append(
                    Seen(
                        id=entry_id.decode(),
                        seq=int(seq) if isinstance(seq, bytes) and seq.isdigit() else 0,
                        hash=hash_.decode(errors="replace") if isinstance(hash_, bytes) else "",
                        event=event if isinstance(event, bytes) else b"",
                    )
                )
            case _:
                continue
    return seen
