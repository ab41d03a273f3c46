"""Checking a chain, entry by entry (spec-auth section 7.3)."""

import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from cordum.core.audit.chain import ChainKey, Head, event_hash, signature
from cordum.core.audit.wire import BadEventError, ChainEntry, parse

MAX_GAPS: Final = 1_000
"""A chain with so many faults is not looked at any further."""


class GapType(StrEnum):
    """What can be wrong with a chain."""

    MISSING = "missing"
    OUT_OF_ORDER = "out_of_order"
    HASH_MISMATCH = "hash_mismatch"
    HMAC_MISMATCH = "hmac_mismatch"
    RETENTION_TRIMMED = "retention_trimmed"
    """The beginning is older than entries are kept: that is as it should be."""


class ChainStatus(StrEnum):
    """What is to be thought of a chain."""

    OK = "ok"
    PARTIAL = "partial"
    COMPROMISED = "compromised"


class Gap(msgspec.Struct, frozen=True):
    """A fault, and the number of the entry where it was noticed."""

    at_seq: int
    type: GapType


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a check, under the names of the API."""

    status: ChainStatus
    total_events: int
    verified_events: int
    gaps: tuple[Gap, ...]
    retention_boundary_seq: int
    retention_window_hours: int
    first_seq: int
    last_seq: int
    hmac_verified: int
    hmac_skipped: int
    hmac_seen: bool


class Seen(msgspec.Struct, frozen=True):
    """An entry as the stream holds it: its id there, and the three fields."""

    id: str
    seq: int
    hash: str
    event: bytes


class Verifier:
    """Looks at entries in the order of the stream.

    Args:
        keys: what signatures may have been made with, by name.
    """

    def __init__(self, keys: Mapping[str, ChainKey]) -> None:
        self._keys = keys
        self._before: Head | None = None
        self._gaps: list[Gap] = []
        self._total = self._verified = self._first = self._boundary = 0
        self._hmac_verified = self._hmac_skipped = 0
        self._signed = False

    @property
    def gaps(self) -> int:
        return len(self._gaps)

    def continue_after(self, entry: Seen) -> None:
        """The entry before the first one that is looked at."""
        self._before = Head(entry.seq, entry.hash)

    def see(self, entry: Seen) -> None:
        """Looks at one entry."""
        self._total += 1
        faults = len(self._gaps)
        self._place(entry)
        try:
            read = parse(entry.event)
        except BadEventError:
            self._note(entry.seq, GapType.HASH_MISMATCH)
        else:
            self._content(entry, read)
        self._before = Head(entry.seq, entry.hash)
        if len(self._gaps) == faults:
            self._verified += 1

    def _place(self, entry: Seen) -> None:
        before = self._before
        if before is None:
            self._first = self._boundary = entry.seq
            if entry.seq > 1:
                self._gaps.append(Gap(entry.seq, GapType.RETENTION_TRIMMED))
            return
        self._first = self._first or entry.seq
        if entry.seq > before.seq + 1:
            self._note(before.seq + 1, GapType.MISSING)
        elif entry.seq <= before.seq:
            self._note(entry.seq, GapType.OUT_OF_ORDER)

    def _content(self, entry: Seen, read: ChainEntry) -> None:
        before = self._before
        linked = before is None or before.seq + 1 != entry.seq or read.prev_hash == before.hash
        if before is None and entry.seq == 1 and read.prev_hash:
            linked = False
        named = read.seq == entry.seq and read.event_hash == entry.hash
        if not (linked and named and event_hash(read) == entry.hash):
            self._note(entry.seq, GapType.HASH_MISMATCH)
        self._signature(entry, read)

    def _signature(self, entry: Seen, read: ChainEntry) -> None:
        if not read.hmac:
            if self._signed:
                self._note(entry.seq, GapType.HMAC_MISMATCH)
            return
        self._signed = True
        key = self._keys.get(read.hmac.partition(":")[0])
        if key is None:
            self._hmac_skipped += 1
        elif hmac.compare_digest(signature(read, entry.seq, key), read.hmac):
            self._hmac_verified += 1
        else:
            self._note(entry.seq, GapType.HMAC_MISMATCH)

    def must_reach(self, head: Head) -> None:
        """An end of the chain that we know of: if the chain is shorter, its end was cut off."""
        last = self._before.seq if self._before is not None else 0
        if last < head.seq:
            self._note(last + 1, GapType.MISSING)

    def _note(self, at_seq: int, kind: GapType) -> None:
        gap = Gap(at_seq, kind)
        if not self._gaps or self._gaps[-1] != gap:
            self._gaps.append(gap)

    def report(self, *, window_hours: int) -> Report:
        """What there is to say."""
        bad = any(gap.type is not GapType.RETENTION_TRIMMED for gap in self._gaps)
        status = ChainStatus.COMPROMISED if bad else ChainStatus.PARTIAL if self._gaps else ChainStatus.OK
        return Report(
            status=status,
            total_events=self._total,
            verified_events=self._verified,
            gaps=tuple(self._gaps),
            retention_boundary_seq=self._boundary or self._first,
            retention_window_hours=window_hours,
            first_seq=self._first,
            last_seq=self._before.seq if self._before is not None and self._total else 0,
            hmac_verified=self._hmac_verified,
            hmac_skipped=self._hmac_skipped,
            hmac_seen=self._signed,
        )
