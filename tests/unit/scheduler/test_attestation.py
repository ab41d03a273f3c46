"""Who is believed: heartbeats and announcements, without a bus and with a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from cap.pb.cordum.agent.v1 import handshake_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.core.access.worker_credential import WorkerCredential
from cordum.core.access.worker_tokens import hash_token
from cordum.core.ids import PoolName, TenantId, Topic, WorkerId
from cordum.runtime import boundary
from cordum.runtime.clock import ManualClock
from cordum.runtime.settings import Rigour
from cordum.services.scheduler.trust import verifying
from cordum.services.scheduler.trust.attestation import NOWHERE, VERIFIED, Attestation
from cordum.services.scheduler.trust.credentials import CredentialCache
from cordum.services.scheduler.trust.verifying import REST, Verifier
from cordum.store import Store

W1 = WorkerId("w1")
SESSION = "aGVhZA.Y2xhaW1z.c2ln"


def token(number: int) -> str:
    return f"{number:064x}"


HASHES = {number: hash_token(token(number), b"salt-for-testing") for number in (1, 2)}


def credential(
    number: int = 1, *, worker: str = "w1", revoked: bool = False, **more: tuple[str, ...]
) -> WorkerCredential:
    return WorkerCredential(
        worker_id=WorkerId(worker),
        tenant_id=TenantId("default"),
        credential_hash=HASHES[number],
        allowed_pools=tuple(map(PoolName, more.get("pools", ()))),
        allowed_topics=tuple(map(Topic, more.get("topics", ()))),
        revoked_at="2026-01-01T00:00:00Z" if revoked else "",
    )


class Shelf:
    """Where the credentials are, as the cache reads them."""

    def __init__(self) -> None:
        self.worker_credentials = self
        self.stored: list[WorkerCredential] = []
        self.changes = 0

    async def revision(self) -> int:
        return self.changes

    async def all(self) -> list[WorkerCredential]:
        return self.stored


class Place:
    """Attestation and what it stands on; what it takes in later is in `taken` and `announced`."""

    def __init__(self, rigour: Rigour) -> None:
        self.shelf = Shelf()
        self.clock = ManualClock()
        self.credentials = CredentialCache(cast("Store", self.shelf))
        self.verifier = Verifier(self.clock)
        self.attestation = Attestation(rigour, self.credentials, self.verifier, self.clock)
        self.taken: list[str] = []
        self.announced: list[list[str]] = []
        self.attestation.on_retake(
            self._again, lambda packet: self.announced.append(list(packet.handshake.ready_topics))
        )

    def _again(self, packet: BusPacket) -> None:
        if self.attestation.heartbeat(packet):
            self.taken.append(packet.sender_id)

    async def put(self, *credentials: WorkerCredential) -> None:
        self.shelf.stored = list(credentials)
        self.shelf.changes += 1
        await self.credentials.refresh()

    async def checked(self, count: int) -> None:
        """Until so many tokens were checked, each in a thread that takes what it takes."""
        async with asyncio.timeout(30):
            while self.verifier.checked < count:  # noqa: ASYNC110 - the verifier tells only one listener
                await asyncio.sleep(0.005)

    def beat(self, sent: str = "", *, pool: str = "p", sender: str = "w1", envelope: str = "") -> bool:
        packet = BusPacket(sender_id=sender, auth_token=envelope)
        packet.heartbeat.worker_id = "w1"
        packet.heartbeat.pool = pool
        packet.heartbeat.auth_token = sent
        return self.attestation.heartbeat(packet)

    def announce(self, *topics: str, envelope: str = "") -> bool:
        packet = BusPacket(sender_id="w1", auth_token=envelope)
        packet.handshake.component_id = "w1"
        packet.handshake.role = handshake_pb2.COMPONENT_ROLE_WORKER
        packet.handshake.ready_topics.extend(topics)
        return self.attestation.handshake(packet)

    @property
    def standing(self) -> str:
        return self.attestation.standings.get(W1, "")


@asynccontextmanager
async def place(rigour: Rigour = Rigour.ENFORCE) -> AsyncIterator[Place]:
    boundary.drain()
    made = Place(rigour)
    running = asyncio.create_task(made.verifier.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_token_is_checked_once_and_its_heartbeat_counts_when_that_is_done() -> None:
    async with place() as here:
        await here.put(credential())

        assert not here.beat(token(1))
        await here.checked(1)

        assert here.taken == ["w1"] and here.standing == VERIFIED
        for _ in range(100):
            assert here.beat(token(1))
        assert here.verifier.checked == 1


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("", "auth_token_missing"),
        ("guess", "credential_invalid"),
        (token(7), "credential_invalid"),
    ],
)
async def test_whoever_has_no_good_token_is_dropped(sent: str, why: str) -> None:
    async with place() as here:
        await here.put(credential())
        assert not here.beat(sent)
        if sent == token(7):
            await here.checked(1)
        assert here.taken == [] and here.standing == why
        assert boundary.drain() == {(boundary.Event.ATTESTATION_FAILED, "w1"): 1}


async def test_without_credentials_nobody_is_believed_until_they_are_read() -> None:
    async with place() as here:
        assert not here.beat(token(1)) and here.standing == "credential_cache_unavailable"
        assert not here.announce("job.a")
        await here.put(credential())
        here.beat(token(1))
        await here.checked(1)
        assert here.taken == ["w1"]


async def test_a_hash_that_cannot_be_checked_lets_nobody_in() -> None:
    async with place() as here:
        await here.put(WorkerCredential(worker_id=W1, tenant_id=TenantId("default"), credential_hash="damaged"))
        here.beat(token(1))
        await here.checked(1)
        assert here.taken == [] and here.standing == "credential_verify_error"
        assert not here.beat(token(1)) and here.verifier.checked == 1


async def test_the_token_may_be_the_envelopes_unless_it_is_a_sessions() -> None:
    async with place() as here:
        await here.put(credential())
        assert not here.beat(envelope=SESSION) and here.standing == "auth_token_missing"
        assert not here.beat(envelope=token(1))
        await here.checked(1)
        assert here.beat(envelope=token(1))
        assert here.beat(token(1), envelope=SESSION), "both at once: each in its own place"


async def test_another_sender_or_pool_is_not_allowed_even_with_the_token() -> None:
    async with place() as here:
        await here.put(credential(pools=("p",)))
        here.beat(token(1))
        await here.checked(1)
        assert not here.beat(token(1), sender="w2")
        assert here.standing == VERIFIED, "what others do in its name is not held against the worker"
        assert not here.beat(token(1), pool="q") and here.standing == "pool_not_allowed"
        assert here.beat(token(1), pool="p")


async def test_an_announcement_counts_with_the_next_good_heartbeat_and_not_before() -> None:
    async with place() as here:
        await here.put(credential())
        assert not here.announce("job.a")
        assert not here.beat("") and here.announced == []
        here.beat(token(1))
        await here.checked(1)
        assert here.announced == [["job.a"]]
        assert here.beat(token(1)) and here.announced == [["job.a"]], "once"
        assert here.announce("job.b", envelope=token(1)), "with the token it counts at once"
        assert not here.announce("job.c", envelope=token(2)), "with another it never does"
        assert here.beat(token(1)) and here.announced == [["job.a"]]


async def test_rotated_the_old_token_is_dead_and_the_worker_gets_nothing_until_it_has_the_new_one() -> None:
    async with place() as here:
        await here.put(credential(topics=("job.a",)))
        here.beat(token(1))
        await here.checked(1)
        assert here.attestation.allowed_topics(W1) == frozenset({Topic("job.a")})

        await here.put(credential(2))

        assert here.attestation.allowed_topics(W1) == NOWHERE and not here.attestation.is_revoked(W1)
        assert not here.beat(token(1))
        await here.checked(2)
        assert here.standing == "credential_invalid"
        here.clock.advance(verifying.PATIENCE)
        assert not here.beat(token(2))
        await here.checked(3)
        assert here.beat(token(2)) and here.attestation.allowed_topics(W1) is None


async def test_revoked_the_worker_is_dismissed() -> None:
    async with place() as here:
        await here.put(credential())
        here.beat(token(1))
        await here.checked(1)
        await here.put(credential(revoked=True))
        assert here.attestation.is_revoked(W1) and not here.beat(token(1))
        assert here.attestation.allowed_topics(W1) == NOWHERE


async def test_revoked_while_its_token_is_being_checked_it_stays_out() -> None:
    async with place() as here:
        await here.put(credential())
        here.beat(token(1))
        await here.put(credential(revoked=True))
        await here.checked(1)
        assert here.taken == [] and not here.beat(token(1))


async def test_a_flood_of_made_up_tokens_costs_few_checks_and_does_not_hurt_the_worker() -> None:
    async with place() as here:
        await here.put(credential())
        here.beat(token(1))
        await here.checked(1)

        for number in range(1000, 3000):
            assert not here.beat(token(number))
            assert here.beat(token(1))
        await here.checked(2)
        for number in range(3000, 4000):
            here.beat(token(number))

        assert here.verifier.checked == 2, "until the checker has rested"
        here.clock.advance(verifying.PATIENCE + REST)
        here.beat(token(4000))
        await here.checked(3)
        assert here.beat(token(1))


async def test_warning_admits_everybody_and_says_why_it_would_not() -> None:
    async with place(Rigour.WARN) as here:
        await here.put(credential(pools=("p",), topics=("job.a",)))
        assert here.beat("") and here.standing == "auth_token_missing"
        assert here.beat(token(7)) and here.announce("job.x")
        await here.checked(1)
        assert here.standing == "credential_invalid"
        here.clock.advance(verifying.PATIENCE)
        assert here.beat(token(1))
        await here.checked(2)
        assert here.standing == VERIFIED
        assert here.beat(token(1), pool="q") and here.standing == "pool_not_allowed"
        assert here.attestation.allowed_topics(W1) is None and not here.attestation.is_revoked(W1)
        await here.put()
        assert not here.attestation.is_revoked(W1)


async def test_off_nothing_is_looked_at() -> None:
    async with place(Rigour.OFF) as here:
        assert here.beat("") and here.beat(token(7), sender="w2") and here.announce("job.a")
        assert here.attestation.standings == {} and boundary.drain() == {} and here.verifier.checked == 0


async def test_a_worker_another_scheduler_believed_is_believed_until_it_speaks() -> None:
    async with place() as here:
        assert not here.attestation.restore(W1, PoolName("p")), "not before the credentials are read"
        await here.put(credential(pools=("p",)), credential(2, worker="w2", revoked=True))
        assert here.attestation.restore(W1, PoolName("p")) and not here.attestation.restore(W1, PoolName("q"))
        assert not here.attestation.restore(WorkerId("w2"), PoolName("p"))
        assert not here.beat(token(7))
        await here.checked(1)
        assert not here.beat(token(7))
