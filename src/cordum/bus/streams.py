"""The streams and their durable consumers: what they must look like, and making them so (spec-scheduler 2.2, 2.4)."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cordum.bus import subjects
from cordum.bus.admin import STREAM_EXISTS_OTHERWISE, Admin, Config, RejectedError
from cordum.bus.errors import StreamSetupError
from cordum.runtime.logging import get_logger

DUPLICATE_WINDOW: Final = 120.0  # seconds
_NANOS: Final = 1_000_000_000
_TRIES: Final = 5

log = get_logger(__name__)


class StreamLimits(msgspec.Struct, frozen=True):
    """What an operator may choose: replicas, age in seconds, size in bytes (-1: no limit)."""

    replicas: int = 1
    max_age: float = 168 * 3600.0
    max_bytes: int = -1


async def ensure_streams(admin: Admin, limits: StreamLimits) -> None:
    """Makes both streams, or changes existing ones to what they must be. Any number of processes may do so at once.

    Raises:
        StreamSetupError: the server cannot give what is asked for.
        BusUnavailableError: JetStream does not answer.
    """
    for name, wanted in ((subjects.STREAM_SYS, subjects.SYS_SUBJECTS), (subjects.STREAM_JOBS, subjects.JOBS_SUBJECTS)):
        await _ensure_stream(admin, name, wanted, limits)


async def _ensure_stream(admin: Admin, name: str, wanted: Sequence[str], limits: StreamLimits) -> None:
    for _ in range(_TRIES):  # somebody else may be at it
        found = await admin.stream(name)
        try:
            if found is None:
                await admin.create_stream(new_stream(name, wanted, limits))
                log.info("stream made", event="bus_stream_made", stream=name)
                return
            changed = mended_stream(found, wanted, limits)
            if changed == found:
                return
            await admin.update_stream(changed)
            log.info(
                "stream changed",
                event="bus_stream_changed",
                stream=name,
                fields=[field for field in changed if changed[field] != found.get(field)],
            )
            return
        except RejectedError as error:
            if error.err_code != STREAM_EXISTS_OTHERWISE:
                raise
    raise StreamSetupError(f"stream {name} is changed by others all the time")


def new_stream(name: str, wanted: Sequence[str], limits: StreamLimits) -> Config:
    """The configuration of a fresh stream."""
    return {
        "name": name,
        "subjects": list(wanted),
        "retention": "limits",
        "storage": "file",
        "discard": "old",
    } | _limits(limits)


def mended_stream(found: Config, wanted: Sequence[str], limits: StreamLimits) -> Config:
    """An existing configuration with our subjects and limits in it; the rest stays as it is.

    Raises:
        StreamSetupError: it keeps its messages in memory; an acknowledged job would not survive a restart.
    """
    if found.get("storage") != "file":
        raise StreamSetupError(
            f"stream {found.get('name')} keeps its messages in memory: remove it, it is made again with file storage"
        )
    return found | {"subjects": narrowed(found.get("subjects") or (), wanted)} | _limits(limits)


def narrowed(found: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Our subjects, and those of the existing ones that stand in nobody's way.

    An existing subject goes when it takes in one of ours, or what no stream may store (`sys.>` does both), or
    when one of ours takes it in.
    """
    extra = [
        subject
        for subject in found
        if subject not in wanted
        and not any(subjects.covers(subject, other) for other in (*wanted, *subjects.TRANSIENT))
        and not any(subjects.covers(own, subject) for own in wanted)
    ]
    return [*wanted, *extra]


def _limits(limits: StreamLimits) -> Config:
    return {
        "num_replicas": limits.replicas,
        "max_age": int(limits.max_age * _NANOS),
        "max_bytes": limits.max_bytes,
        "duplicate_window": int(min(DUPLICATE_WINDOW, limits.max_age) * _NANOS),
    }


def durable_name(queue: str, subject: str) -> str:
    """Name of the durable consumer that a queue group shares."""
    return f"dur_{queue}__{subject.replace('.', '_').replace('*', 'STAR').replace('>', 'GT')}"


class Durable(msgspec.Struct, frozen=True):
    """A durable consumer as we want it; `ack_wait` in seconds."""

    stream: str
    queue: str
    subject: str
    ack_wait: float
    max_ack_pending: int


async def ensure_consumer(admin: Admin, wanted: Durable) -> str:
    """Makes a durable pull consumer, or changes an existing one, and gives its name.

    Where a push consumer of another implementation has the name already, ours gets `__pull` at its end: a push consumer
    cannot be turned, and whoever uses it may still need it.

    Raises:
        StreamSetupError: the server refuses.
        BusUnavailableError: JetStream does not answer.
    """
    name = durable_name(wanted.queue, wanted.subject)
    found = await admin.consumer(wanted.stream, name)
    if found is not None and found.get("deliver_subject"):
        name += "__pull"
        found = await admin.consumer(wanted.stream, name)
    config = {
        "name": name,
        "durable_name": name,
        "filter_subject": wanted.subject,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": int(wanted.ack_wait * _NANOS),
        "max_ack_pending": wanted.max_ack_pending,
        "max_deliver": -1,  # we count ourselves: the server would leave the message behind without a word
    }
    changed = config if found is None else found | config
    if changed != found:
        await admin.put_consumer(wanted.stream, changed)
    return name
