"""The decision log: what policy decided about every job, findable by time, rule, agent, topic and verdict.

One hash per decision and one sorted set per way to look for it (spec-safety section 11). All keys of a tenant carry the
same hash tag, so that they are on one node of a cluster. A decision is written in the round trip of whatever it is
decided for: it costs commands, no waiting.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.core.policy.decision import Constraints, Decision
from cordum.runtime.clock import Clock
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.link import Command, Reply
from cordum.store.options import StoreOptions

DECISIONS_KEPT: Final = 200  # entries of one job's own list
MAX_LIMIT: Final = 500
_CHUNK: Final = 250
_CHUNKS: Final = 20
"""A search that matches little looks through at most this many chunks per page."""
_TENDED_KEPT: Final = 20_000

_VERDICTS: Final = {
    Decision.ALLOW.value: "allow",
    Decision.ALLOW_WITH_CONSTRAINTS.value: "constrain",
    Decision.REQUIRE_APPROVAL.value: "require_approval",
    Decision.THROTTLE.value: "throttle",
    Decision.DENY.value: "deny",
}
VERDICTS: Final = frozenset(_VERDICTS.values())
"""The words a verdict is logged and searched under."""

_ENCODER: Final = msgspec.json.Encoder()


class LoggedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about one job.

    Attributes:
        decision: the word of `job:meta` `safety_decision`.
        at: when it was decided.
        for_job: the same as JSON for `job:decisions:<id>`; "" where the job's own record says as much.
    """

    tenant: TenantId
    job_id: JobId
    topic: str
    decision: str
    at: Micros
    rule_id: str = ""
    reason: str = ""
    snapshot: str = ""
    constraints: Constraints | None = None
    agent_id: str = ""
    principal: str = ""
    approval_status: str = ""
    approval_decision: str = ""
    for_job: str = ""

    @property
    def verdict(self) -> str:
        return _VERDICTS.get(self.decision, self.decision.lower())

    @property
    def id(self) -> str:
        """The same decision logged twice has one entry."""
        named = f"{self.tenant}|{self.job_id}|{self.at // 1000}"
        return hashlib.sha256(named.encode()).hexdigest()[:32]


class DecisionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; "" means any. Times in milliseconds, inclusive."""

    tenant: TenantId
    since: int
    until: int
    topic: str = ""
    rule_id: str = ""
    verdict: str = ""
    agent_id: str = ""
    cursor: str = ""
    limit: int = 50


class DecisionPage(msgspec.Struct, frozen=True):
    """Decisions, newest first, and the cursor of the next page; "" at the end."""

    items: tuple[LoggedDecision, ...]
    next_cursor: str = ""


class DecisionLog:
    """The decisions of all tenants. Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock
        self._ttl = options.decision_ttl
        self._job_ttl = options.meta_ttl
        self._tended: dict[str, float] = {}

    async def record(self, decision: LoggedDecision) -> None:
        """Writes a decision down. One round trip, shared with whatever else is asked of the store at this moment."""
        await self._batcher.submit(self.commands(decision))

    def commands(self, decision: LoggedDecision) -> list[Command]:
        """What writes a decision down, for a round trip that is made anyway."""
        tenant, entry_id, at = decision.tenant, decision.id, decision.at // 1000
        indexes = [keys.decision_index(tenant, "t"), keys.decision_index(tenant, "verdict", decision.verdict)]
        for kind, value in (("rule", decision.rule_id), ("topic", decision.topic), ("agent", decision.agent_id)):
            if value:
                indexes.append(keys.decision_index(tenant, kind, value))
        fields = _fields(decision)
        commands: list[Command] = [
            (
                "EVALSHA",
                scripts.LOG_DECISION.sha,
                1 + len(indexes),
                keys.decision(tenant, entry_id),
                *indexes,
                self._ttl,
                at,
                entry_id,
                len(fields),
                self._ttl * 51 // 50,
                *("1" if self._to_tend(index) else "0" for index in indexes),
                *fields,
            )
        ]
        if decision.for_job:
            mine = keys.job_decisions(decision.job_id)
            commands += [
                ("LPUSH", mine, decision.for_job),
                ("LTRIM", mine, 0, DECISIONS_KEPT - 1),
                ("EXPIRE", mine, self._job_ttl),
            ]
        return commands

    def _to_tend(self, index: str) -> bool:
        """Whether it is time again for an index to lose what has run out, and to get its own end."""
        now = self._clock.monotonic()
        tended = self._tended
        last = tended.get(index)
        if last is not None and now - last < self._ttl / 100:
            return False
        if len(tended) >= _TENDED_KEPT:
            tended.clear()
        tended[index] = now
        return True

    async def page(self, query: DecisionQuery) -> DecisionPage:
        """Decisions that match, newest first; never short while more match, unless the search hits its bound.

        Raises:
            ValueError: the cursor is none of ours.
        """
        limit = min(max(query.limit, 1), MAX_LIMIT)
        newest, below = query.until, ""
        if query.cursor:
            at, below = read_cursor(query.cursor)
            newest = min(newest, at)
        index, offset = _best_index(query), 0
        found: list[LoggedDecision] = []
        last = ""
        for _ in range(_CHUNKS):
            look: Command = (
                "ZREVRANGEBYSCORE", index, newest, query.since, "WITHSCORES", "LIMIT", offset, _CHUNK
            )  # fmt: skip
            entries = _scored((await self._batcher.submit([look]))[0])
            wanted = [(entry_id, at) for entry_id, at in entries if not (below and at == newest and entry_id >= below)]
            replies: list[Reply] = []
            if wanted:
                replies = await self._batcher.submit(
                    [("HGETALL", keys.decision(query.tenant, entry_id)) for entry_id, _ in wanted]
                )
            for (entry_id, at), reply in zip(wanted, replies, strict=True):
                decision = _read(query.tenant, reply)
                if decision is not None and _matches(query, decision):
                    if len(found) == limit:
                        return DecisionPage(tuple(found), last)
                    found.append(decision)
                    last = cursor_of(at, entry_id)
            if len(entries) < _CHUNK:
                return DecisionPage(tuple(found))
            offset += _CHUNK
        entry_id, at = entries[-1]
        return DecisionPage(tuple(found), cursor_of(at, entry_id))


def cursor_of(at: int, entry_id: str) -> str:
    """Where a page ended: base64url of `ms:id`."""
    return base64.urlsafe_b64encode(f"{at}:{entry_id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[int, str]:
    """The moment and the id a cursor names. Raises ValueError when it is none of ours."""
    try:
        at, _, entry_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(":")
    except ValueError as error:
        raise ValueError("no cursor of this list") from error
    if not (at.isascii() and at.isdigit() and len(at) < 16 and entry_id):
        raise ValueError("no cursor of this list")
    return int(at), entry_id


def _best_index(query: DecisionQuery) -> str:
    """The index that leaves the least to be looked through."""
    for kind, value in (
        ("agent", query.agent_id),
        ("rule", query.rule_id),
        ("topic", query.topic),
        ("verdict", query.verdict),
    ):
        if value:
            return keys.decision_index(query.tenant, kind, value)
    return keys.decision_index(query.tenant, "t")


def _matches(query: DecisionQuery, decision: LoggedDecision) -> bool:
    return (
        (not query.topic or decision.topic == query.topic)
        and (not query.rule_id or decision.rule_id == query.rule_id)
        and (not query.verdict or decision.verdict == query.verdict)
        and (not query.agent_id or decision.agent_id == query.agent_id)
    )


_TEXTS: Final = ("rule_id", "reason", "snapshot", "agent_id", "principal", "approval_status", "approval_decision")


def _fields(decision: LoggedDecision) -> list[str | bytes | int]:
    fields: list[str | bytes | int] = ["job_id", decision.job_id, "topic", decision.topic]
    fields += ["decision", decision.decision, "verdict", decision.verdict, "at", decision.at]
    for name in _TEXTS:
        if value := getattr(decision, name):
            fields += [name, value]
    if decision.constraints is not None:
        fields += ["constraints", _ENCODER.encode(decision.constraints)]
    return fields


def _read(tenant: TenantId, reply: Reply) -> LoggedDecision | None:
    """One entry; None when it has run out or cannot be read: it must not spoil the page for the others."""
    if not isinstance(reply, list) or not reply:
        return None
    fields = {str(name): str(value) for name, value in zip(reply[::2], reply[1::2], strict=False)}
    try:
        constraints = fields.get("constraints", "")
        return LoggedDecision(
            tenant=tenant,
            job_id=JobId(fields["job_id"]),
            topic=fields["topic"],
            decision=fields["decision"],
            at=Micros(int(fields["at"])),
            constraints=msgspec.json.decode(constraints, type=Constraints) if constraints else None,
            **{name: fields.get(name, "") for name in _TEXTS},
        )
    except (KeyError, ValueError, msgspec.MsgspecError):
        return None


def _scored(reply: Reply) -> Sequence[tuple[str, int]]:
    if not isinstance(reply, list):
        return ()
    return [(str(member), int(float(str(score)))) for member, score in zip(reply[::2], reply[1::2], strict=False)]
