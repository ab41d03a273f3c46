"""Looking into a world from outside: what is written into records and streams, and whether all has come to rest."""

from typing import TYPE_CHECKING, Final

from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from tests.simulation.consumers import Stored
from tests.simulation.history import Event
from tests.simulation.redis_commands import JOB
from tests.simulation.redis_values import ScoredSet

from cordum.bus import subjects
from cordum.core.ids import JobId
from cordum.core.jobs.states import TERMINAL, JobState
from cordum.store import keys

if TYPE_CHECKING:
    from tests.simulation.world import World

_BURIED: Final = (JobState.FAILED, JobState.TIMEOUT, JobState.DENIED)
_OPEN_INDEXES = tuple((state, keys.STATE_INDEX[state].encode()) for state in JobState if state not in TERMINAL)


def watch(world: "World") -> None:
    """Writes down every move of a record and every dispatch that a stream stores."""

    def on_job(key: bytes, fields: dict[bytes, bytes], known: dict[bytes, bytes]) -> None:
        state = fields.get(b"state")
        if state is None:
            return
        before, dispatch = known.get(b"state", b""), fields.get(b"dispatch_id", known.get(b"dispatch_id", b""))
        if state == before and dispatch == known.get(b"dispatch_id", b""):
            return
        merged = {**known, **fields}
        world.history.add(
            Event(
                world.loop.time(),
                "redis",
                "moves",
                key[len(JOB) :].decode(),
                detail=" ".join(
                    f"{name}={merged[name.encode()].decode()}"
                    for name in ("worker_id", "error_code", "topic")
                    if merged.get(name.encode())
                ),
                before=before.decode() or "-",
                after=state.decode(),
                dispatch=dispatch.decode(),
                attempts=int(merged.get(b"attempts") or 0),
            )
        )

    def on_stored(who: str, stored: Stored) -> None:
        if not stored.subject.startswith("worker."):
            world.history.add(Event(world.loop.time(), who, "stored", detail=f"{stored.subject} {stored.seq}"))
            return
        request = BusPacket.FromString(stored.data).job_request
        world.history.add(
            Event(
                world.loop.time(),
                who,
                "dispatches",
                request.job_id,
                stored.subject,
                dispatch=request.dispatch.dispatch_id,
                attempts=request.dispatch.attempt,
            )
        )

    world.redis.keys.on_job = on_job
    world.broker.on_stored = on_stored


def records(world: "World") -> dict[str, dict[str, str]]:
    """All job records."""
    found = {}
    for key, value in world.redis.keys.values.items():
        if key.startswith(JOB) and isinstance(value, dict):
            found[key[len(JOB) :].decode()] = {name.decode(): text.decode() for name, text in value.items()}  # type: ignore[union-attr]
    return found


def told_ends(world: "World") -> set[str]:
    """Jobs of which a stream has a result, whoever sent it."""
    found = set()
    for stream in world.broker.streams.values():
        for stored in stream.messages:
            if stored.subject == subjects.JOB_RESULT:
                found.add(BusPacket.FromString(stored.data).job_result.job_id)
    return found


def unsettled(world: "World") -> list[str]:
    """What is not yet as it must be in the end."""
    jobs = records(world)
    begun = world.gateway.begun
    found = [f"{wish.job_id} is still to be submitted" for wish in world.plan.wishes if wish.job_id not in begun]
    found += [
        f"{job_id} has not ended: {record}"
        for job_id, record in jobs.items()
        if JobState(record["state"]) not in TERMINAL and not is_ghost(world, job_id)
    ]
    if found:
        return found
    for replica in world.replicas:
        if replica.scheduler is None:
            found.append(f"{replica.name} is not up")
        else:
            found += [f"{replica.name} still counts {hold}" for hold in replica.scheduler.fleet.slots]
    for stream in world.broker.streams.values():
        for consumer in stream.consumers.values():
            if consumer.unsettled:
                found.append(f"{consumer.name} has {consumer.unsettled} messages that nobody has settled")
    return found or _untold(world, jobs) or _stale_entries(world, jobs)


def _untold(world: "World", jobs: dict[str, dict[str, str]]) -> list[str]:
    """Jobs that have failed and are no dead letter, or have ended without a result on the bus."""
    told = told_ends(world)
    found = []
    for job_id, record in jobs.items():
        if is_ghost(world, job_id):
            continue
        how = f"{job_id} ended as {record['state']} ({record.get('failure_reason', '')})"
        if (
            JobState(record["state"]) in _BURIED
            and keys.dlq_entry(JobId(job_id)).encode() not in world.redis.keys.values
        ):
            found.append(f"{how} and is no dead letter")
        if job_id not in told:
            found.append(f"{how} and nobody was told")
    return found


def is_ghost(world: "World", job_id: str) -> bool:
    """Whether a record may stand there for good: its creation was refused, and Redis made it after all, much later,
    when its entries had been cleaned away. Nobody was told that there is such a job."""
    return job_id not in world.gateway.accepted and world.history.faults["redis_late"] > 0


def _stale_entries(world: "World", jobs: dict[str, dict[str, str]]) -> list[str]:
    """Index entries that the records do not bear out."""
    values, found = world.redis.keys.values, []
    for state, key in _OPEN_INDEXES:
        left = values.get(key)
        if left:
            found.append(f"the index of {state} has {sorted(left)}")  # type: ignore[arg-type]
    for job_id, record in jobs.items():
        index = values.get(keys.STATE_INDEX[JobState(record["state"])].encode())
        if is_ghost(world, job_id):
            continue
        if not isinstance(index, ScoredSet) or job_id.encode() not in index:
            found.append(f"{job_id} is not in the index of {record['state']}")
    for key, value in values.items():
        if key.startswith((b"job:tenant:active:", b"job:parked:")) and isinstance(value, set | ScoredSet):
            found.append(f"{key.decode()} has {value!r}")
    if values.get(keys.JOB_DEADLINE.encode()):
        found.append("a job that has ended has a deadline")
    return found
