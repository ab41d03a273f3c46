"""Puts the action behind a request before the gates, which go before every rule (spec-safety section 8)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.ids import RuleId
from cordum.core.policy import gates
from cordum.core.policy.decision import Decision
from cordum.core.policy.outcome import DecidedBy, Outcome
from cordum.runtime.clock import Clock
from cordum.services.safety_kernel.judge import read_request

PATIENCE: Final = 2.0
"""Seconds for a name to resolve; then it counts as one that does not."""
REMEMBERED_FOR: Final = 300.0
"""Seconds."""
MOST_REMEMBERED: Final = 2048

_MARK: Final = gates.ACTION_LABEL.encode()

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A host name's addresses, none when it has none."""


class ActionGates:
    """Finds what the gates have against a request."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def objections(self, requests: Sequence[bytes], default_tenant: str) -> Sequence[Outcome | None]:
        """One answer per request, or none at all when no request carries an action. Never raises.

        Each is a serialised PolicyCheckRequest.
        """
        if not any(_MARK in request for request in requests):
            return ()
        return await asyncio.gather(*(self._one(request, default_tenant) for request in requests))

    async def _one(self, request: bytes, default_tenant: str) -> Outcome | None:
        try:
            asked = read_request(safety_pb2.PolicyCheckRequest.FromString(request), default_tenant)
        except DecodeError:
            return None  # the judge says so
        text = asked.labels.get(gates.ACTION_LABEL)
        if text is None:
            return None
        try:
            action = gates.read_action(text)
        except gates.BadActionError as error:
            return _outcome("actiongate.descriptor", Decision.DENY, error.message)
        host = gates.host_to_resolve(action)
        addresses = await self._resolve(host) if host else ()
        objection = gates.check(action, gates.Facts(asked.tenant, addresses))
        return None if objection is None else _outcome(objection.rule_id, objection.decision, objection.reason)


class Resolver:
    """Looks names up, and remembers for five minutes what it found."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, Sequence[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        known = self._known.get(host)
        now = self._clock.monotonic()
        if known is not None and known[0] > now:
            return known[1]
        try:
            async with asyncio.timeout(PATIENCE):
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            return ()
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        while len(self._known) >= MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[host] = now + REMEMBERED_FOR, addresses
        return addresses


def _outcome(rule_id: str, decision: Decision, reason: str) -> Outcome:
    return Outcome(decision=decision, decided_by=DecidedBy.ACTION_GATE, reason=reason[:500], rule_id=RuleId(rule_id))
