"""The index entries of a job, as commands.

They follow from the record alone, so they can be written again at any time: after the script that moves the record, in
the same write where the move could be foreseen, and from the record itself where it could not (`restored`).
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId, TraceId
from cordum.core.jobs.approvals import RESOLVED
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import TERMINAL, JobState
from cordum.store import keys, scripts
from cordum.store.link import Command
from cordum.store.transitions import Standing, state_list

RECENT_KEPT: Final = 1000
EVENTS_KEPT: Final = 200

_OTHERS: Final = {
    state: tuple(key for other, key in keys.STATE_INDEX.items() if other is not state) for state in JobState
}


def events(states: Sequence[JobState], at: Micros) -> list[str]:
    """Entries of `job:events:<id>` for states passed at a moment."""
    return [f'{{"ts":{at},"state":"{state}"}}' for state in states]


def standing_in(record: JobRecord) -> Command:
    """The entry under which whoever looks through a state finds a job."""
    return ("ZADD", keys.STATE_INDEX[record.state], str(record.updated_at), record.id)


def created(record: JobRecord, ttl: int) -> list[Command]:
    """The other index entries of a new job, and its first event."""
    job_id, stamp = record.id, str(record.updated_at)
    commands: list[Command] = [
        ("SET", keys.job_state(job_id), record.state, "EX", ttl),
        ("ZADD", keys.job_tenant_index(record.tenant), stamp, job_id),
        ("ZADD", keys.JOB_RECENT, stamp, job_id),
    ]
    if record.state not in TERMINAL:
        commands.append(("SADD", keys.job_tenant_active(record.tenant), job_id))
        if record.deadline_unix:
            commands.append(("ZADD", keys.JOB_DEADLINE, record.deadline_unix, job_id))
    if record.trace_id:
        trace = keys.trace(record.trace_id)
        commands.append(("SADD", trace, job_id))
        commands.append(("EXPIRE", trace, ttl))
    history = keys.job_events(job_id)
    commands.append(("RPUSH", history, events((record.state,), record.updated_at)[0]))
    commands.append(("EXPIRE", history, ttl))
    return commands


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A move as the indexes see it.

    Attributes:
        before: the state it starts from.
        stamp: the record's `updated_at` after it.
        created_at: when the job was created.
        deadline: what `deadline_unix` was before; 0 = none.
    """

    tenant: TenantId
    trace_id: TraceId
    before: JobState
    stamp: Micros
    created_at: Micros
    deadline: Micros


def moved(job_id: JobId, change: Change, step: Step, *, meta_ttl: int, data_ttl: int) -> list[Command]:
    """The index entries of a job that makes this move. Those of `job:events`, if there are any, come last."""
    to, before, tenant, deadline, ttl = change.to, step.before, step.tenant, step.deadline, meta_ttl
    stamp = str(step.stamp)
    commands: list[Command] = [
        ("ZADD", keys.STATE_INDEX[to], stamp, job_id),
        # GT: should two moves' entries arrive in the wrong order, the later time stays.
        ("ZADD", keys.job_tenant_index(tenant), "GT", stamp, job_id),
        ("ZADD", keys.JOB_RECENT, "GT", stamp, job_id),
    ]
    if to is not before:
        commands.append(("SET", keys.job_state(job_id), to, "EX", ttl))
        if to in TERMINAL and before not in TERMINAL:
            commands.append(("SREM", keys.job_tenant_active(tenant), job_id))
    if change.deadline and to not in TERMINAL:
        commands.append(("ZADD", keys.JOB_DEADLINE, change.deadline, job_id))
    elif deadline and (to in TERMINAL or "deadline_unix" in change.clear):
        commands.append(("ZREM", keys.JOB_DEADLINE, job_id))
    pointer = change.fields.get("result_ptr")
    if pointer:
        commands.append(("SET", keys.job_result_pointer(job_id), pointer, "EX", ttl))
        # Workers write their results without an end.
        written = keys.payload_key(pointer)
        if written.startswith("res:"):
            commands.append(("EXPIRE", written, data_ttl))
    if step.stamp - step.created_at > ttl * (1_000_000 // 4):
        commands += _kept_alive(job_id, step.trace_id, ttl)
    if to is JobState.APPROVAL_REQUIRED:
        # A person may take days, and must find the input the job was parked with.
        commands.append(("EXPIRE", keys.context(job_id), ttl))
    if "approval_status" in change.fields:
        commands += _approval_moved(job_id, change, step, ttl)
    if to is not before:
        # Behind the others: should the connection break in between, the job is still found where it stood before, and
        # whoever finds it there mends the rest.
        commands.append(("ZREM", keys.STATE_INDEX[before], job_id))
    if change.trail:
        commands.append(("RPUSH", keys.job_events(job_id), *events(change.trail, step.stamp)))
    return commands


def _approval_moved(job_id: JobId, change: Change, step: Step, ttl: int) -> list[Command]:
    """The entries of an approval that was resolved: it is found again, and so is what is still to be published."""
    commands: list[Command] = []
    if change.fields["approval_status"] in RESOLVED:
        resolved = keys.approvals_resolved(step.tenant)
        commands += [
            ("ZADD", resolved, step.stamp, job_id),
            ("ZREMRANGEBYSCORE", resolved, "-inf", step.stamp - ttl * 1_000_000),
            ("EXPIRE", resolved, ttl),
        ]
    if change.fields.get("approval_publish_status") == "pending":
        commands.append(("ZADD", keys.APPROVALS_UNPUBLISHED, step.stamp, job_id))
    return commands


def restored(job_id: JobId, standing: Standing | None, tenant: TenantId, ttl: int) -> list[Command]:
    """Every index entry as the record demands it; with no record, no entry anywhere (`tenant` is then a hint)."""
    if standing is None:
        gone: list[Command] = []
        if tenant:
            gone += [
                ("ZREM", keys.job_tenant_index(tenant), job_id),
                ("SREM", keys.job_tenant_active(tenant), job_id),
            ]
        gone += [
            ("ZREM", keys.JOB_RECENT, job_id),
            ("ZREM", keys.JOB_DEADLINE, job_id),
            ("DEL", keys.job_state(job_id)),
            ("DEL", keys.job_result_pointer(job_id)),
        ]
        # At the end: it is by these that somebody comes to clean up.
        gone += [("ZREM", key, job_id) for key in keys.STATE_INDEX.values()]
        return gone
    state, stamp = standing.state, standing.updated_at
    commands: list[Command] = [
        ("ZADD", keys.STATE_INDEX[state], stamp, job_id),
        ("ZADD", keys.job_tenant_index(standing.tenant), stamp, job_id),
        ("ZADD", keys.JOB_RECENT, "XX", stamp, job_id),
        ("SET", keys.job_state(job_id), state, "EX", ttl),
    ]
    if standing.result_ptr:
        commands.append(("SET", keys.job_result_pointer(job_id), standing.result_ptr, "EX", ttl))
    else:
        commands.append(("DEL", keys.job_result_pointer(job_id)))
    if state in TERMINAL:
        commands.append(("SREM", keys.job_tenant_active(standing.tenant), job_id))
        ends, told = state_list(TERMINAL), events((state,), stamp)[0]
        commands.append(("EVALSHA", scripts.SETTLE_EVENTS.sha, 1, keys.job_events(job_id), ttl, state, ends, told))
    else:
        commands.append(("SADD", keys.job_tenant_active(standing.tenant), job_id))
    if standing.deadline and state not in TERMINAL:
        commands.append(("ZADD", keys.JOB_DEADLINE, standing.deadline, job_id))
    else:
        commands.append(("ZREM", keys.JOB_DEADLINE, job_id))
    # At the end: should the connection break, or the record have moved on, the job is still found somewhere.
    return commands + [("ZREM", key, job_id) for key in _OTHERS[state]]


def _kept_alive(job_id: JobId, trace_id: TraceId, ttl: int) -> list[Command]:
    """Renews what was written once, for a job so old that it might otherwise outlive it."""
    commands: list[Command] = [
        ("EXPIRE", keys.job_request(job_id), ttl),
        ("EXPIRE", keys.job_state(job_id), ttl),
        ("EXPIRE", keys.job_events(job_id), ttl),
    ]
    if trace_id:
        commands.append(("EXPIRE", keys.trace(trace_id), ttl))
    return commands
