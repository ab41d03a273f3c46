"""Group commit over a link: what one turn of the event loop wants from Redis goes out in one write.

The unit of submission is a list of commands that belong together; they keep their order on one connection and their
replies come back as a list.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Final, cast

from cordum.runtime.groupcommit import GroupCommit
from cordum.store import scripts
from cordum.store.cluster import ClusterLink
from cordum.store.errors import AnswerLostError, NotRunError, StoreError, StoreUnavailableError
from cordum.store.link import READS, Command, Link, Outcome, Payload, Reply, UnknownScriptError

_LEAST_TIME: Final = 0.5  # seconds a batch gets even when its oldest unit has waited long already
_FIRST_PAUSE: Final = 0.02  # seconds before the first repetition; doubles up to the last
_LAST_PAUSE: Final = 0.25  # seconds
_SCRIPT_ROUNDS: Final = 3

_REPLIES: Final = frozenset({int, str, bytes, list, NoneType})


class Unit:
    """Commands that belong together, and until when somebody waits for their answer."""

    __slots__ = ("commands", "deadline")

    def __init__(self, commands: Sequence[Command], deadline: float) -> None:
        self.commands = commands
        self.deadline = deadline


class Batcher:
    """Sends units over a link.

    Attributes:
        round_trips: how many writes-and-reads there were so far.
        is_scattered: several nodes share the keys: of one unit, some commands may run and others not.
    """

    def __init__(self, link: Link, *, name: str, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self.is_scattered = isinstance(link, ClusterLink)
        self._group: GroupCommit[Unit, list[Reply]] = GroupCommit(self._send, name=name)
        self.round_trips = 0

    def submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Reply]]:
        """Puts commands into the next batch.

        The future gives their replies, or raises:
            StoreUnavailableError: Redis did not answer in time; a write may or may not have happened.
            StoreReplyError: the server refused one of them (the others may have run).
            OverloadedError: too much waits already.
        """
        return self._group.submit(Unit(commands, self._group.loop.time() + self._timeout))

    async def aclose(self) -> None:
        """Sends what is still waiting, then closes the link."""
        await self._group.aclose()
        await self._link.aclose()

    async def _send(self, units: Sequence[Unit]) -> list[list[Reply] | BaseException]:
        now = self._group.loop.time()
        # Behind an outage a unit may have waited out its time in the queue: it fails without being sent.
        live = [unit for unit in units if unit.deadline > now]
        commands: list[Command] = []
        for unit in live:
            commands.extend(unit.commands)
        outcomes: list[Outcome] = []
        hand_out: Callable[[list[Outcome]], list[Reply] | BaseException] = _replies
        if commands:
            deadline = max(live[0].deadline, now + _LEAST_TIME)
            self.round_trips += 1
            outcomes = await self._link.execute(commands, deadline)
            if not _REPLIES.issuperset(map(type, outcomes)):
                await self._repeat(commands, outcomes, deadline)
                hand_out = _replies_or_error
        answers: list[list[Reply] | BaseException] = []
        at = 0
        for unit in units:
            if unit.deadline <= now:
                answers.append(StoreUnavailableError("Redis is not keeping up: the command was never sent"))
                continue
            end = at + len(unit.commands)
            answers.append(hand_out(outcomes[at:end]))
            at = end
        return answers

    async def _repeat(self, commands: list[Command], outcomes: list[Outcome], deadline: float) -> None:
        """Sends again what may be sent again, until it is answered or time is up."""
        loop = self._group.loop
        pause = _FIRST_PAUSE
        script_rounds = 0
        while True:
            again = [at for at, outcome in enumerate(outcomes) if _may_repeat(commands[at], outcome)]
            if not again:
                return
            if script_rounds < _SCRIPT_ROUNDS and all(isinstance(outcomes[at], UnknownScriptError) for at in again):
                script_rounds += 1
            elif loop.time() + pause >= deadline:
                return
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)
            self.round_trips += 1
            replies = await self._link.execute([_resend(commands[at], outcomes[at]) for at in again], deadline)
            for at, reply in zip(again, replies, strict=True):
                outcomes[at] = reply


def _may_repeat(command: Command, outcome: Outcome) -> bool:
    return isinstance(outcome, NotRunError) or (isinstance(outcome, AnswerLostError) and command[0] in READS)


def _resend(command: Command, outcome: Outcome) -> Command:
    if not isinstance(outcome, UnknownScriptError):
        return command
    spelled_out = ("EVAL", scripts.TEXTS[str(command[1])], *command[2:])
    return Payload(spelled_out) if type(command) is Payload else spelled_out


def _replies(outcomes: list[Outcome]) -> list[Reply] | BaseException:
    return cast("list[Reply]", outcomes)


def _replies_or_error(outcomes: list[Outcome]) -> list[Reply] | BaseException:
    for outcome in outcomes:
        if isinstance(outcome, StoreError):
            # A copy, since one instance must not be raised to many waiters.
            error = type(outcome)(outcome.message)
            if isinstance(error, StoreUnavailableError):
                error.outcomes = outcomes
            return error
    return cast("list[Reply]", outcomes)
