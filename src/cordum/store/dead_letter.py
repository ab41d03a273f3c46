"""One dead letter, and the indexes it belongs to."""

from datetime import datetime

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.core.jobs.triage import group_of
from cordum.store import keys
from cordum.store.link import Reply


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

    @property
    def group(self) -> str:
        """The runbook's word for why it is here."""
        return group_of(self.reason, self.reason_code)

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


def indexes_of(entry: DeadLetter) -> tuple[str, ...]:
    """The indexes of its tenant an entry belongs to."""
    tenant = entry.tenant
    return (
        keys.dlq_tenant_index(tenant),
        keys.dlq_index_by("topic", tenant, entry.topic),
        keys.dlq_index_by("code", tenant, entry.reason_code),
        keys.dlq_index_by("group", tenant, entry.group),
    )


def written_at(entry: DeadLetter) -> Micros:
    """When an entry was written; the beginning of time when it does not say so readably."""
    try:
        moment = datetime.fromisoformat(entry.created_at)
    except ValueError:
        return Micros(0)
    return Micros(int(moment.timestamp() * 1_000_000))


def read_entry(reply: Reply) -> DeadLetter | None:
    """A stored entry; None when there is none that can be read."""
    if not isinstance(reply, bytes):
        return None
    try:
        return msgspec.json.decode(reply, type=DeadLetter)
    except msgspec.MsgspecError:
        return None
