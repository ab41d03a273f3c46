"""A lifecycle `Change` as one script call on the record, and what the script answers."""

from collections.abc import Mapping
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId, Topic, TraceId, WorkerId
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord, hash_value
from cordum.core.jobs.states import JobState
from cordum.store import keys, scripts
from cordum.store.errors import StoreReplyError
from cordum.store.link import Command, Reply


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The move was made, by us.

    Attributes:
        previous: the state before.
        updated_at: the record's new time.
        deadline: what `deadline_unix` was before; 0 when there was none.
        The rest is what the record said before the move.
    """

    previous: JobState
    tenant: TenantId
    topic: Topic
    trace_id: TraceId
    worker_id: WorkerId
    attempts: int
    updated_at: Micros
    created_at: Micros
    deadline: Micros


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The move was not made, and nothing was changed.

    Attributes:
        state: where the job stands; None when there is no such job.
        why: "missing", "state", or the name of the fence field that no longer holds.
    """

    state: JobState | None
    why: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """All that a job's index entries depend on."""

    state: JobState
    tenant: TenantId
    updated_at: Micros
    deadline: Micros = Micros(0)
    result_ptr: str = ""


STANDING_FIELDS: Final = ("state", "tenant", "updated_at", "deadline_unix", "result_ptr")

_ALLOWED: Final[dict[frozenset[JobState], str]] = {}


def state_list(states: frozenset[JobState]) -> str:
    """States as the scripts compare them: `,A,B,`."""
    text = _ALLOWED.get(states)
    if text is None:
        text = _ALLOWED[states] = "," + ",".join(sorted(states)) + ","
    return text


def transition(job_id: JobId, change: Change, now: Micros, ttl: int) -> Command:
    """The call that makes a change, or refuses it. `ttl` is the record's, in seconds."""
    clear = change.clear
    if change.to.is_terminal and "deadline_unix" not in clear:
        clear = (*clear, "deadline_unix")
    return (
        "EVALSHA",
        scripts.TRANSITION.sha,
        1,
        keys.job_meta(job_id),
        ttl,
        now,
        change.to,
        state_list(change.allowed_from),
        len(change.fence),
        len(change.fields),
        len(clear),
        *change.fence,
        *change.fence.values(),
        *flat(change.fields),
        *clear,
    )


_JOB_FIELDS: Final = JobRecord.__struct_fields__


def record_fields(record: JobRecord) -> list[str]:
    """The hash of a record, as names and values one after the other; what has its default value is left out."""
    listed: list[str] = []
    for name, value in zip(_JOB_FIELDS, msgspec.structs.astuple(record), strict=True):
        if value and name != "id":
            listed.append(name)
            listed.append(value if type(value) is str else hash_value(value))
    return listed


def flat(fields: Mapping[str, str]) -> list[str]:
    """Names and values, one after the other."""
    listed: list[str] = []
    for pair in fields.items():
        listed += pair
    return listed


def read_transition(reply: Reply) -> tuple[Applied | Refused, Standing | None]:
    """What the transition script answered, and where the job stands now if it was refused."""
    if not isinstance(reply, list) or not reply:
        raise StoreReplyError("the transition script answered something unknown")
    if reply[0] == "missing":
        return Refused(state=None, why="missing"), None
    why, state, tenant, topic, trace_id, worker_id, attempts, stamp, created_at, deadline, pointer = reply
    if why:
        standing = read_standing([state, tenant, stamp, deadline, pointer])
        return Refused(state=JobState(_text(state)), why=_text(why)), standing
    applied = Applied(
        previous=JobState(_text(state)),
        tenant=TenantId(_text(tenant)),
        topic=Topic(_text(topic)),
        trace_id=TraceId(_text(trace_id)),
        worker_id=WorkerId(_text(worker_id)),
        attempts=_number(attempts),
        updated_at=Micros(_number(stamp)),
        created_at=Micros(_number(created_at)),
        deadline=Micros(_number(deadline)),
    )
    return applied, None


def read_standing(reply: Reply) -> Standing | None:
    """HMGET of STANDING_FIELDS; None when there is no record (or none of ours)."""
    if not isinstance(reply, list):
        return None
    state, tenant, updated_at, deadline, pointer = reply
    if _text(state) not in JobState.__members__:
        return None
    return Standing(
        state=JobState(_text(state)),
        tenant=TenantId(_text(tenant)),
        updated_at=Micros(_number(updated_at)),
        deadline=Micros(_number(deadline)),
        result_ptr=_text(pointer),
    )


def _text(value: Reply) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Reply) -> int:
    return int(value) if isinstance(value, str) and value else 0
