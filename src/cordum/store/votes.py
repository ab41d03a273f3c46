"""Votes on parked jobs: one script call each, and what it answers."""

from enum import StrEnum

import msgspec

from cordum.core.ids import JobId, Micros
from cordum.core.jobs.approvals import Ballot
from cordum.store import keys, scripts, transitions
from cordum.store.errors import StoreReplyError
from cordum.store.link import Command, Reply
from cordum.store.transitions import Applied, Refused


class Cast(StrEnum):
    """What became of a vote."""

    MADE = "made"
    """It was the last one needed: the job has moved."""
    COUNTED = "counted"
    REPEATED = "repeated"
    """The same person had voted before; more are needed."""


class Voted(msgspec.Struct, frozen=True, kw_only=True):
    """The vote was taken.

    Attributes:
        votes: how many people have said yes now.
        move: as after `Jobs.apply`; with COUNTED and REPEATED the job stands where it stood.
    """

    outcome: Cast
    votes: int
    move: Applied


def vote(job_id: JobId, ballot: Ballot, now: Micros, ttl: int) -> Command:
    """The call that casts a vote. `ttl` is the record's, in seconds."""
    change = ballot.granted
    (stands_in,) = change.allowed_from
    return (
        "EVALSHA",
        scripts.VOTE.sha,
        1,
        keys.job_meta(job_id),
        ttl,
        now,
        change.to,
        stands_in,
        ballot.required,
        ballot.vote.who,
        msgspec.json.encode(ballot.vote).decode(),
        len(change.fence),
        len(ballot.refresh),
        len(change.fields),
        *change.fence,
        *change.fence.values(),
        *transitions.flat(ballot.refresh),
        *transitions.flat(change.fields),
    )


def read_vote(reply: Reply) -> Voted | Refused:
    """What the script answered."""
    if not isinstance(reply, list) or not reply:
        raise StoreReplyError("the vote script answered something unknown")
    if reply[0] == "missing":
        return Refused(state=None, why="missing")
    *standing, votes, outcome = reply
    move, _ = transitions.read_transition(standing)
    if isinstance(move, Refused):
        return move
    return Voted(outcome=Cast(str(outcome)), votes=votes if isinstance(votes, int) else 0, move=move)
