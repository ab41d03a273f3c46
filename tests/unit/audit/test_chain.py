"""The audit chain: its form, and what its check notices."""

from collections.abc import Callable

import msgspec
import pytest

from cordum.core.audit import chain, wire
from cordum.core.audit.chain import EMPTY, ChainKey, Head
from cordum.core.audit.event import AuditEvent, Severity
from cordum.core.audit.verify import ChainStatus, Gap, GapType, Report, Seen, Verifier
from cordum.core.audit.wire import ChainEntry
from cordum.core.ids import Micros, TenantId

KEY = ChainKey.of(b"a key for tests")
OLD_KEY = ChainKey.of(b"the key before")


def event(number: int, **known: object) -> AuditEvent:
    base = {
        "id": f"event-{number}",
        "event_type": "safety.policy_change",
        "tenant": "default",
        "action": "publish",
        "created_at": 1_700_000_000_000_000 + number,
    }
    return msgspec.convert(base | known, AuditEvent)


def stream(count: int, key: ChainKey | None = None, head: Head = EMPTY) -> list[Seen]:
    chained, _ = chain.sealed([wire.to_entry(event(number)) for number in range(count)], head, key)
    return [Seen(f"{entry.seq}-0", entry.seq, entry.event_hash, wire.canonical(entry)) for entry in chained]


def check(entries: list[Seen], *keys: ChainKey) -> Report:
    verifier = Verifier({key.name: key for key in keys})
    for entry in entries:
        verifier.see(entry)
    return verifier.report(window_hours=168)


def test_the_hash_is_the_one_other_tools_of_cordum_compute() -> None:
    # An entry of an existing installation, with the hash it was written with.
    entry = ChainEntry(
        timestamp="2026-11-23T11:13:53.825797552Z",
        event_type="system.auth",
        severity="INFO",
        tenant_id="default",
        action="data.read",
        extra={"path": "/api/v1/auth/config", "mandatory": "true", "source_ip": "127.0.0.1"},
        prev_hash="249138c4ba348683bf39856144a5e85caca7b023b58ec9029d599585df4b6a69",
    )
    assert chain.event_hash(entry) == "514e80f05c05ae571a26a209b96458c71c7c26312b7efe8bce9cf4904143b17c"


def test_the_form_escapes_what_the_others_escape() -> None:
    entry = ChainEntry(
        timestamp="t",
        event_type="e",
        severity="INFO",
        tenant_id="d",
        action="<a>&\u2028\u2029",
        extra={"b": "2", "a": "1"},
    )
    assert wire.canonical(entry) == (
        b'{"timestamp":"t","event_type":"e","severity":"INFO","tenant_id":"d",'
        b'"action":"\\u003ca\\u003e\\u0026\\u2028\\u2029","extra":{"a":"1","b":"2"}}'
    )
    assert wire.parse(wire.canonical(entry)) == entry


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000, "1970-01-01T00:00:01.5Z"),
        (1_795_432_433_825_797, "2026-11-23T11:13:53.825797Z"),
    ],
)
def test_moments_have_as_many_decimals_as_they_need(at: int, text: str) -> None:
    assert wire.moment(Micros(at)) == text
    assert wire.micros_of(text) == at


def test_an_event_comes_back_as_it_went() -> None:
    whole = event(
        1,
        severity=Severity.HIGH,
        resource_type="bundle",
        resource_id="secops/x",
        resource_name="X",
        actor_id="alice",
        role="admin",
        auth_source="api_key",
        identity_source="principal",
        identity_label="alice",
        agent_id="agent-7",
        job_id="job-1",
        bundle_ids=("secops/x", "secops/y"),
        message="published",
        reason="because",
        decision="DENY",
        matched_rule="r1",
        policy_version="v1",
        risk_tags=("pii",),
        extra={"note": "n"},
        snapshot_before="a",
        snapshot_after="b",
    )
    assert wire.to_event(wire.parse(wire.canonical(wire.to_entry(whole)))) == whole


def test_nothing_that_sounds_like_a_secret_is_written_and_texts_are_bounded() -> None:
    entry = wire.to_entry(event(1, reason="x" * 5000, extra={"api_key": "s3cret", "Authorization": "x", "path": "/a"}))
    assert entry.extra == {"id": "event-1", "path": "/a"}
    assert len(entry.reason) == 2048


def test_a_whole_chain_is_ok() -> None:
    report = check(stream(5))
    assert (report.status, report.total_events, report.verified_events) == (ChainStatus.OK, 5, 5)
    assert (report.first_seq, report.last_seq, report.gaps) == (1, 5, ())
    assert not report.hmac_seen


def test_an_empty_chain_is_ok() -> None:
    report = check([])
    assert (report.status, report.total_events, report.first_seq, report.last_seq) == (ChainStatus.OK, 0, 0, 0)


def changed(entry: Seen) -> Seen:
    return msgspec.structs.replace(entry, event=entry.event.replace(b"publish", b"nothing"))


def forged(entry: Seen) -> Seen:
    """Changed, with a hash that fits again: what whoever may write to the store could do."""
    read = msgspec.structs.replace(wire.parse(entry.event), action="nothing")
    hash_ = chain.event_hash(read)
    return Seen(entry.id, entry.seq, hash_, wire.canonical(msgspec.structs.replace(read, event_hash=hash_)))


def broken(entry: Seen) -> Seen:
    return msgspec.structs.replace(entry, event=b"{")


FAULTS: list[tuple[str, Callable[[list[Seen]], list[Seen]], Gap]] = [
    ("one is missing", lambda s: s[:2] + s[3:], Gap(3, GapType.MISSING)),
    ("two have changed places", lambda s: [s[0], s[2], s[1], s[3]], Gap(2, GapType.MISSING)),
    ("one is there twice", lambda s: [*s[:2], s[1], *s[2:]], Gap(2, GapType.OUT_OF_ORDER)),
    ("one was changed", lambda s: [s[0], changed(s[1]), *s[2:]], Gap(2, GapType.HASH_MISMATCH)),
    ("one was changed and hashed anew", lambda s: [s[0], forged(s[1]), *s[2:]], Gap(3, GapType.HASH_MISMATCH)),
    ("one is no entry at all", lambda s: [s[0], broken(s[1])], Gap(2, GapType.HASH_MISMATCH)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "gap"), [(fault, gap) for _, fault, gap in FAULTS], ids=[name for name, *_ in FAULTS]
)
def test_what_somebody_changed_is_found(fault: Callable[[list[Seen]], list[Seen]], gap: Gap) -> None:
    report = check(fault(stream(5)))
    assert report.status is ChainStatus.COMPROMISED
    assert report.gaps[0] == gap
    assert report.verified_events < report.total_events


def test_a_beginning_that_was_trimmed_is_no_fault() -> None:
    report = check(stream(5)[2:])
    assert report.status is ChainStatus.PARTIAL
    assert report.gaps == (Gap(3, GapType.RETENTION_TRIMMED),)
    assert report.retention_boundary_seq == 3


def test_an_end_that_was_cut_off_is_found_by_whoever_knows_it() -> None:
    whole = stream(5)
    verifier = Verifier({})
    for entry in whole[:3]:
        verifier.see(entry)
    verifier.must_reach(Head(5, whole[-1].hash))
    assert verifier.report(window_hours=1).gaps == (Gap(4, GapType.MISSING),)


def test_signed_entries_are_checked_with_the_key_they_name() -> None:
    older = stream(2, OLD_KEY)
    chained, _ = chain.sealed([wire.to_entry(event(9))], Head(2, older[-1].hash), KEY)
    entry = chained[0]
    newer = Seen("3-0", 3, entry.event_hash, wire.canonical(entry))
    report = check([*older, newer], KEY, OLD_KEY)
    assert (report.status, report.hmac_verified, report.hmac_skipped) == (ChainStatus.OK, 3, 0)
    report = check([*older, newer], KEY)
    assert (report.status, report.hmac_verified, report.hmac_skipped) == (ChainStatus.OK, 1, 2)


def test_a_whole_history_written_without_the_key_is_found() -> None:
    impostor = ChainKey(KEY.name, b"some other secret")
    report = check(stream(3, impostor), KEY)
    assert report.status is ChainStatus.COMPROMISED
    assert {gap.type for gap in report.gaps} == {GapType.HMAC_MISMATCH}


def test_an_unsigned_entry_after_a_signed_one_is_found() -> None:
    signed = stream(2, KEY)
    chained, _ = chain.sealed([wire.to_entry(event(3))], Head(2, signed[-1].hash), None)
    unsigned = Seen("3-0", 3, chained[0].event_hash, wire.canonical(chained[0]))
    assert check([*signed, unsigned], KEY).gaps == (Gap(3, GapType.HMAC_MISMATCH),)


def test_a_signature_belongs_to_its_place() -> None:
    entry = wire.to_entry(event(1))
    assert chain.signature(entry, 1, KEY) != chain.signature(entry, 2, KEY)


def test_tenant_ids_stay_apart() -> None:
    assert wire.to_entry(event(1, tenant=TenantId("acme"))).tenant_id == "acme"
