"""An event as the chain keeps it: the JSON other tools of Cordum read, byte for byte (spec-auth section 7.1 and 7.3).

Members come in a fixed order, empty ones are left out, keys of maps are sorted, moments are RFC 3339 with as many
decimals as they need, and `<`, `>`, `&`, U+2028 and U+2029 are written as escapes. What the action log knows beyond
that form is kept in `extra`.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from cordum.core.audit.event import MAX_BUNDLES, AuditEvent, Severity, harmless, shortened
from cordum.core.errors import CordumError
from cordum.core.ids import Micros, TenantId

_IN_EXTRA: Final = (
    "id",
    "resource_type",
    "resource_id",
    "resource_name",
    "role",
    "auth_source",
    "identity_source",
    "identity_label",
    "message",
    "snapshot_before",
    "snapshot_after",
)
_BUNDLES: Final = "bundle_ids"
_ESCAPES: Final = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"))
_LINE_ENDS: Final = (("\u2028".encode(), rb"\u2028"), ("\u2029".encode(), rb"\u2029"))
_SEVERITIES: Final = frozenset(Severity)


class BadEventError(CordumError):
    """An entry of an audit chain cannot be read."""

    code = "audit_entry_unreadable"


class ChainEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a chain. The order of the members is part of the form."""

    timestamp: str
    event_type: str
    severity: str
    tenant_id: str
    agent_id: str = ""
    agent_name: str = ""
    agent_risk_tier: str = ""
    job_id: str = ""
    action: str
    decision: str = ""
    matched_rule: str = ""
    reason: str = ""
    risk_tags: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    policy_version: str = ""
    identity: str = ""
    extra: dict[str, str] = {}
    seq: int = 0
    event_hash: str = ""
    prev_hash: str = ""
    hmac: str = ""


_DECODER: Final = msgspec.json.Decoder(ChainEntry)


def canonical(entry: ChainEntry) -> bytes:
    """The bytes of an entry, which are what is stored and what is hashed."""
    if entry.extra:
        entry = msgspec.structs.replace(entry, extra=dict(sorted(entry.extra.items())))
    data = _PLAIN.encode(entry)
    for raw, escaped in _ESCAPES:
        if raw in data:
            data = data.replace(raw, escaped)
    if not data.isascii():
        for raw, escaped in _LINE_ENDS:
            data = data.replace(raw, escaped)
    return data


_PLAIN: Final = msgspec.json.Encoder()


def parse(data: bytes) -> ChainEntry:
    """Reads an entry.

    Raises:
        BadEventError: it is no such JSON.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEventError(f"an entry of the audit chain cannot be read: {error}") from error


def to_entry(event: AuditEvent) -> ChainEntry:
    """The event in the form of the chain, bounded and without anything that sounds like a secret."""
    extra = harmless(event.extra)
    for name in _IN_EXTRA:
        if value := getattr(event, name):
            extra[name] = shortened(value)
    if event.bundle_ids:
        extra[_BUNDLES] = ",".join(event.bundle_ids[:MAX_BUNDLES])
    return ChainEntry(
        timestamp=moment(event.created_at),
        event_type=event.event_type,
        severity=event.severity.value,
        tenant_id=event.tenant,
        agent_id=shortened(event.agent_id),
        job_id=shortened(event.job_id),
        action=shortened(event.action),
        decision=event.decision,
        matched_rule=shortened(event.matched_rule),
        reason=shortened(event.reason),
        risk_tags=event.risk_tags[:100],
        capabilities=event.capabilities[:100],
        policy_version=shortened(event.policy_version),
        identity=shortened(event.actor_id),
        extra=extra,
    )


def to_event(entry: ChainEntry) -> AuditEvent:
    """The event an entry tells of; one that another tool wrote may know less."""
    extra = dict(entry.extra)
    known = {name: extra.pop(name, "") for name in _IN_EXTRA}
    bundles = extra.pop(_BUNDLES, "")
    return AuditEvent(
        event_type=entry.event_type,
        tenant=TenantId(entry.tenant_id),
        action=entry.action,
        created_at=micros_of(entry.timestamp),
        severity=Severity(entry.severity) if entry.severity in _SEVERITIES else Severity.INFO,
        actor_id=entry.identity,
        agent_id=entry.agent_id,
        job_id=entry.job_id,
        bundle_ids=tuple(bundles.split(",")) if bundles else (),
        reason=entry.reason,
        decision=entry.decision,
        matched_rule=entry.matched_rule,
        policy_version=entry.policy_version,
        risk_tags=entry.risk_tags,
        capabilities=entry.capabilities,
        extra=extra,
        **known,
    )


def moment(at: Micros) -> str:
    """RFC 3339 in UTC, with as many decimals as it takes."""
    seconds, rest = divmod(max(at, 0), 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:06d}".rstrip("0") + "Z" if rest else f"{text}Z"


def micros_of(text: str) -> Micros:
    """The moment such a text names, 0 for none; decimals beyond the microsecond are dropped."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return Micros(0)
    if read.tzinfo is None:
        read = read.replace(tzinfo=UTC)
    return Micros(int(read.timestamp()) * 1_000_000 + read.microsecond)
