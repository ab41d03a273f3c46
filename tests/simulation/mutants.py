"""Faults put into the product on purpose: if the simulation did not find these, it would find nothing.

Each is the smallest change that breaks one promise. They live in the process that asks for them and nowhere else.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec

from cordum.bus import ACK, Delivery, Outcome
from cordum.core.ids import DispatchId, JobId, Micros, WorkerId, micros
from cordum.core.jobs import approval_use, lifecycle
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.kernel_client import KernelUnavailableError
from cordum.services.scheduler.deciding import Deciding
from cordum.services.scheduler.held_results import HeldResults
from cordum.services.scheduler.holding import Holding
from cordum.services.scheduler.placing import Placing
from cordum.services.scheduler.replayer import Replayer
from cordum.services.scheduler.submit import SubmitHandler
from cordum.services.scheduler.ticket import Ticket
from cordum.store.endings import Endings
from cordum.store.moves import Moves

Patch = tuple[Any, str, Callable[..., Any]]
_EVERY: Final = frozenset(JobState)


def _dispatch_without_fence() -> list[Patch]:
    """A job is given away whatever has become of it since it was read."""
    real = lifecycle.dispatch

    def dispatch(record: JobRecord, verdict: Verdict, **rest: Any) -> Change:
        return msgspec.structs.replace(real(record, verdict, **rest), fence={}, allowed_from=_EVERY)

    return [(lifecycle, "dispatch", dispatch)]


def _cancel_of_the_ended() -> list[Patch]:
    """What has ended can still be cancelled."""
    real = lifecycle.cancel

    def cancel(reason: str) -> Change:
        return msgspec.structs.replace(real(reason), allowed_from=_EVERY)

    return [(lifecycle, "cancel", cancel)]


def _results_of_any_dispatch() -> list[Patch]:
    """A worker's result counts for whatever dispatch its job is under now."""

    def held_by(worker: WorkerId, dispatch_id: DispatchId) -> dict[str, str]:
        return {"worker_id": str(worker)}

    return [(lifecycle, "held_by", held_by)]


def _results_of_any_worker() -> list[Patch]:
    """Anybody's result counts."""

    def held_by(worker: WorkerId, dispatch_id: DispatchId) -> dict[str, str]:
        return {}

    return [(lifecycle, "held_by", held_by)]


def _ack_before_commit() -> list[Patch]:
    """A submit is acknowledged before anything is written."""
    real = SubmitHandler.handle
    running: set[asyncio.Task[Outcome]] = set()

    async def handle(self: SubmitHandler, delivery: Delivery) -> Outcome:
        task = asyncio.get_running_loop().create_task(real(self, delivery))
        running.add(task)
        task.add_done_callback(running.discard)
        return ACK

    return [(SubmitHandler, "handle", handle)]


def _open_without_kernel() -> list[Patch]:
    """Where the kernel gives no answer, the answer is yes."""
    real: Callable[[Deciding, Ticket], Awaitable[Verdict]] = Deciding.decide

    async def decide(self: Deciding, ticket: Ticket) -> Verdict:
        try:
            return await real(self, ticket)
        except KernelUnavailableError:
            return Verdict(decision=Decision.ALLOW, checked_at=micros(self._clock.now()))

    return [(Deciding, "decide", decide)]


def _nobody_replays() -> list[Patch]:
    """Jobs whose message was lost are looked for by nobody."""

    async def tick(self: Replayer) -> None:
        return None

    return [(Replayer, "tick", tick)]


def _slots_stay_taken() -> list[Patch]:
    """A slot that was taken is never given back."""

    def release(self: Holding, job_id: object, dispatch_id: object = None) -> None:
        return None

    return [(Holding, "release", release)]


def _indexes_stay_broken() -> list[Patch]:
    """Index entries that turn out to be wrong are left as they are."""

    async def mend(self: Moves, *args: object, **rest: object) -> None:
        return None

    return [(Moves, "mend", mend)]


def _attempts_uncounted() -> list[Patch]:
    """However often a job is tried, it was its first time."""
    real = lifecycle.dispatch

    def dispatch(record: JobRecord, verdict: Verdict, **rest: Any) -> Change:
        asked = msgspec.structs.replace(record, attempts=0)
        change = real(asked, verdict, **rest)
        return msgspec.structs.replace(change, fence={"dispatch_id": record.dispatch_id})

    return [(lifecycle, "dispatch", dispatch)]


def _approvals_for_good() -> list[Patch]:
    """An approval is good for every attempt."""
    real = approval_use.covers

    def covers(record: JobRecord, verdict: Verdict, job_hash: str) -> bool:
        return real(msgspec.structs.replace(record, approval_dispatch_id=DispatchId("")), verdict, job_hash)

    return [(approval_use, "covers", covers)]


def _denials_forgotten() -> list[Patch]:
    """A job that policy denies is placed all the same."""

    async def decide(self: Deciding, ticket: Ticket) -> Verdict:
        verdict = await real(self, ticket)
        if verdict.decision is Decision.DENY:
            return msgspec.structs.replace(verdict, decision=Decision.ALLOW)
        return verdict

    real = Deciding.decide
    return [(Deciding, "decide", decide)]


def _dispatches_under_new_names() -> list[Patch]:
    """A dispatch is published under an id that is not the record's."""
    real = Placing._dispatch

    async def dispatch(self: Placing, ticket: Ticket, *rest: Any) -> Any:
        dispatcher = self._dispatcher
        message = type(dispatcher)._message

        def renamed(ticket: Ticket, running: JobRecord) -> bytes:
            other = msgspec.structs.replace(running, dispatch_id=DispatchId(f"{running.dispatch_id}x"))
            return message(dispatcher, ticket, other)

        dispatcher._message = renamed  # type: ignore[method-assign]
        return await real(self, ticket, *rest)

    return [(Placing, "_dispatch", dispatch)]


def _outputs_unchecked() -> list[Patch]:
    """Results are released without anybody having looked at them."""

    def concerns(self: HeldResults, *rest: object) -> bool:
        return False

    return [(HeldResults, "concerns", concerns)]


def _ends_without_a_note() -> list[Patch]:
    """Nobody writes down that he is about to end a job."""

    async def begin(self: Endings, job_id: JobId, end: JobState, now: Micros) -> None:
        await asyncio.sleep(0)

    return [(Endings, "begin", begin)]


MUTANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    "dispatch without fence": _dispatch_without_fence,
    "cancel of the ended": _cancel_of_the_ended,
    "results of any dispatch": _results_of_any_dispatch,
    "results of any worker": _results_of_any_worker,
    "ack before commit": _ack_before_commit,
    "open without kernel": _open_without_kernel,
    "nobody replays": _nobody_replays,
    "slots stay taken": _slots_stay_taken,
    "indexes stay broken": _indexes_stay_broken,
    "attempts uncounted": _attempts_uncounted,
    "approvals for good": _approvals_for_good,
    "denials forgotten": _denials_forgotten,
    "dispatches under new names": _dispatches_under_new_names,
    "outputs unchecked": _outputs_unchecked,
    "ends without a note": _ends_without_a_note,
}


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """Puts one fault into the product, and takes it out again."""
    patches = [(owner, attribute, getattr(owner, attribute), new) for owner, attribute, new in MUTANTS[name]()]
    for owner, attribute, _, new in patches:
        setattr(owner, attribute, new)
    try:
        yield
    finally:
        for owner, attribute, old, _ in patches:
            setattr(owner, attribute, old)
