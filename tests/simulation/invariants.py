"""What must hold of every history, whatever went wrong."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from tests.simulation import kernel
from tests.simulation.history import Event
from tests.simulation.observing import records
from tests.simulation.replica import TRIES

from cordum.core.jobs.states import TERMINAL, JobState

if TYPE_CHECKING:
    from tests.simulation.world import World

_PERMITS: Final = ("ALLOW", "ALLOW_WITH_CONSTRAINTS")


class Checker:
    """Checks one history.

    Attributes:
        ended_once: accepted jobs that have ended, and ended once.
        lost: accepted jobs that have not ended.
        doubled: dispatches that a worker has run twice; counted, for a bus that repeats itself can bring it about.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._events = world.history.events
        self._records = records(world)
        self._moves: dict[str, list[Event]] = defaultdict(list)
        for event in self._events:
            if event.what == "moves":
                self._moves[event.job].append(event)
        ends = {job: sum(_ends(move) for move in moves) for job, moves in self._moves.items()}
        accepted = world.gateway.accepted
        self.ended_once = sum(ends.get(job) == 1 for job in accepted)
        self.lost = sum(not ends.get(job) for job in accepted)
        runs = Counter((event.who, event.dispatch) for event in self._events if event.what == "runs")
        self.doubled = sum(count > 1 for count in runs.values())

    def violations(self) -> list[str]:
        """What does not hold, in words."""
        found: list[str] = []
        found += self._accepted_jobs_end_once()
        found += self._ends_are_final()
        found += self._dispatches_are_allowed()
        found += self._dispatches_are_single()
        found += self._tries_are_kept()
        found += self._results_count_for_their_dispatch()
        found += self._approvals_are_used_once()
        found += self._outputs_are_checked()
        found += self._nothing_unforeseen()
        return found

    def _accepted_jobs_end_once(self) -> list[str]:
        found = []
        for job in sorted(self._world.gateway.accepted):
            record = self._records.get(job)
            if record is None:
                found.append(f"{job} was accepted and is not there")
            elif JobState(record["state"]) not in TERMINAL:
                found.append(f"{job} was accepted and never ended: {record['state']}")
        return found

    def _ends_are_final(self) -> list[str]:
        found = []
        for job, moves in self._moves.items():
            ended: Event | None = None
            for move in moves:
                if ended is not None:
                    found.append(f"{job} ended as {ended.after} at {ended.at:.4f} and moved at {move.at:.4f}: {move}")
                if JobState(move.after) in TERMINAL:
                    ended = move
        return found

    def _dispatches_are_allowed(self) -> list[str]:
        """No job is given to a worker unless the kernel has said yes, or a person where it asked for one."""
        said: dict[str, list[str]] = defaultdict(list)
        found = []
        for event in self._events:
            if event.what == "decided" or event.what == "approves":
                said[event.job].append(event.detail or "approved")
            elif event.what == "moves" and event.after in ("RUNNING", "SUCCEEDED") and event.before != "RUNNING":
                words = said[event.job]
                yes = any(word in _PERMITS for word in words)
                if "REQUIRE_APPROVAL" in words:
                    yes = "approved" in words
                if not yes or "DENY" in words:
                    found.append(f"{event.job} runs at {event.at:.4f} although it was decided {words}")
        return found

    def _dispatches_are_single(self) -> list[str]:
        """A dispatch goes to one worker, is stored once, and is one the record has had."""
        found = []
        known: dict[tuple[str, str], Event] = {}
        for moves in self._moves.values():
            for move in moves:
                known.setdefault((move.job, move.dispatch), move)
        stored: dict[str, Event] = {}
        for event in self._events:
            if event.what != "dispatches":
                continue
            earlier = stored.setdefault(event.dispatch, event)
            if earlier is not event:
                found.append(
                    f"dispatch {event.dispatch} of {event.job} is stored twice: {earlier.detail}, {event.detail}"
                )
            committed = known.get((event.job, event.dispatch))
            if committed is None or committed.at > event.at:
                found.append(f"{event.job} was given to a worker under a dispatch that was not committed: {event}")
        return found

    def _tries_are_kept(self) -> list[str]:
        found = []
        topics = {wish.job_id: wish.topic for wish in self._world.plan.wishes}
        for job, moves in self._moves.items():
            tries = 2 if topics[job] == kernel.RETRIED else TRIES
            most = sum(move.after == "RUNNING" for move in moves) - _taken_back(moves)
            attempts = max(move.attempts for move in moves)
            if most > tries or attempts > tries:
                found.append(f"{job} was tried {most} times (attempts={attempts}) and has {tries} tries")
        return found

    def _results_count_for_their_dispatch(self) -> list[str]:
        """A worker's result ends a job only if this worker gave it for this very dispatch."""
        answers: set[tuple[str, str, str]] = set()
        found = []
        for event in self._events:
            if event.what == "answers":
                answers.add((event.job, event.who, event.dispatch))
            elif event.what == "moves" and event.before in ("RUNNING", "DISPATCHED"):
                words = dict(word.split("=", 1) for word in event.detail.split() if "=" in word)
                by_worker = event.after == "SUCCEEDED" or words.get("error_code") == "worker_failed"
                by_worker = by_worker and event.after not in ("TIMEOUT", "CANCELLED", "PENDING")
                if not by_worker:
                    continue
                worker = words.get("worker_id", "")
                echoed = self._world.manners.echoes
                if echoed and (event.job, worker, event.dispatch) not in answers:
                    found.append(f"{event.job} ended by no answer to its dispatch {event.dispatch}: {event}")
                if not any(job == event.job and who == worker for job, who, _ in answers):
                    found.append(f"{event.job} ended without an answer of its worker: {event}")
        return found

    def _approvals_are_used_once(self) -> list[str]:
        found = []
        approved = Counter(event.job for event in self._events if event.what == "approves")
        ran = Counter(
            event.job
            for event in self._events
            if event.what == "dispatches" and self._topic(event.job) in (kernel.CAREFUL, kernel.GATE)
        )
        for job, times in ran.items():
            # A dispatch that could not be published gives the approval back.
            if times > approved[job] + _taken_back(self._moves[job]):
                found.append(f"{job} was approved {approved[job]} times and dispatched {times} times")
        return found

    def _outputs_are_checked(self) -> list[str]:
        """Where results are checked, none is released that the output policy has not let go."""
        if not self._world.plan.checked:
            return []
        found, released = [], set()
        for event in self._events:
            if event.what == "checked" and event.detail == "ALLOW":
                released.add(event.job)
            elif event.job not in released and (event.before, event.after) == ("RUNNING", "SUCCEEDED"):
                found.append(f"{event.job} succeeded at {event.at:.4f} with a result nobody has checked")
        return found

    def _topic(self, job: str) -> str:
        return next(wish.topic for wish in self._world.plan.wishes if wish.job_id == job)

    def _nothing_unforeseen(self) -> list[str]:
        found = [f"unforeseen: {text}" for text in self._world.log.unforeseen]
        found += [
            f"stray: {context.get('message')} {context.get('exception')!r}" for context in self._world.loop.strays
        ]
        found += [f"the simulation does not know {name}" for name in sorted(self._world.redis.unknown)]
        for replica in self._world.replicas:
            found += replica.failed
        return found


def _taken_back(moves: list[Event]) -> int:
    """How many dispatches could not be published and were taken back, which count neither as a try nor as a use."""
    found, before = 0, 0
    for move in moves:
        found += move.after == "PENDING" and move.attempts < before
        before = move.attempts
    return found


def _ends(move: Event) -> bool:
    return JobState(move.after) in TERMINAL and (move.before == "-" or JobState(move.before) not in TERMINAL)
