"""Whatever somebody does to a chain in the middle, the check finds it."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cordum.core.audit import chain, wire
from cordum.core.audit.chain import EMPTY
from cordum.core.audit.event import AuditEvent
from cordum.core.audit.verify import ChainStatus, Seen, Verifier
from cordum.core.ids import Micros, TenantId

texts = st.text(max_size=20)
events = st.builds(
    AuditEvent,
    id=texts,
    event_type=texts,
    tenant=texts.map(TenantId),
    action=texts,
    created_at=st.integers(0, 2**50).map(Micros),
    reason=texts,
    extra=st.dictionaries(texts, texts, max_size=3),
)


def stream(made: list[AuditEvent]) -> list[Seen]:
    chained, _ = chain.sealed([wire.to_entry(event) for event in made], EMPTY, None)
    return [Seen(f"{entry.seq}-0", entry.seq, entry.event_hash, wire.canonical(entry)) for entry in chained]


def status(entries: list[Seen]) -> ChainStatus:
    verifier = Verifier({})
    for entry in entries:
        verifier.see(entry)
    return verifier.report(window_hours=1).status


@given(st.lists(events, min_size=1, max_size=8))
def test_what_was_written_verifies(made: list[AuditEvent]) -> None:
    assert status(stream(made)) is ChainStatus.OK


@given(st.lists(events, min_size=3, max_size=8), st.data())
def test_any_change_in_the_middle_is_found(made: list[AuditEvent], data: st.DataObject) -> None:
    entries = stream(made)
    at = data.draw(st.integers(1, len(entries) - 2))
    match data.draw(st.sampled_from(["drop", "swap", "repeat", "flip"])):
        case "drop":
            del entries[at]
        case "swap":
            entries[at], entries[at + 1] = entries[at + 1], entries[at]
        case "repeat":
            entries.insert(at, entries[at])
        case _:
            raw = bytearray(entries[at].event)
            place = data.draw(st.integers(0, len(raw) - 1))
            raw[place] ^= data.draw(st.integers(1, 255))
            entries[at] = msgspec.structs.replace(entries[at], event=bytes(raw))
    assert status(entries) is ChainStatus.COMPROMISED
