"""Sessions and handshakes in the store, on a real server."""

import secrets
import time

import pytest
from tests.integration.store.conftest import Open

from cordum.core.ids import TenantId, WorkerId
from cordum.core.sessions import Claims
from cordum.embedded.servers import Server
from cordum.runtime.clock import ManualClock
from cordum.store import Store, StoreOptions
from cordum.store.sessions import RENEWAL_GRACE

WORKER = WorkerId("worker-1")
ACME = TenantId("acme")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=time.time())


@pytest.fixture
async def store(opened: Open, redis_server: Server, clock: ManualClock) -> Store:
    return await opened(StoreOptions(url=redis_server.url), clock)


def claims(clock: ManualClock, sub: str = WORKER) -> Claims:
    now = int(clock.now())
    return Claims(sub=sub, tenant=ACME, jti=secrets.token_hex(16), iat=now, exp=now + 3600)


async def holds(store: Store, made: Claims, clock: ManualClock) -> bool:
    session = await store.sessions.get(WorkerId(made.sub))
    return session is not None and session.holds(made.jti, clock.now())


async def test_a_nonce_is_used_once_in_a_tenant(store: Store) -> None:
    nonce = secrets.token_bytes(32)
    assert await store.sessions.claim_nonce(ACME, nonce)
    assert not await store.sessions.claim_nonce(ACME, nonce)
    assert await store.sessions.claim_nonce(TenantId("other"), nonce)


async def test_a_challenge_is_answered_once(store: Store) -> None:
    assert await store.sessions.put_challenge("c-1", "digest")
    assert not await store.sessions.put_challenge("c-1", "another")
    assert await store.sessions.take_challenge("c-1") == "digest"
    assert await store.sessions.take_challenge("c-1") is None


async def test_issuing_ends_the_session_before(store: Store, clock: ManualClock) -> None:
    first, second = claims(clock), claims(clock)
    assert await store.sessions.issue(first)
    assert await holds(store, first, clock)
    assert await store.sessions.issue(second)
    assert await holds(store, second, clock) and not await holds(store, first, clock)
    assert await store.sessions.is_revoked(ACME, first.jti)
    assert not await store.sessions.is_revoked(ACME, second.jti)


async def test_a_renewed_session_holds_a_little_longer_and_may_be_renewed_again(
    store: Store, clock: ManualClock
) -> None:
    first, second, third = claims(clock), claims(clock), claims(clock)
    await store.sessions.issue(first)
    assert await store.sessions.issue(second, renews=first.jti)
    assert await holds(store, first, clock) and await holds(store, second, clock)
    # The answer with the second was lost.
    clock.advance(RENEWAL_GRACE / 2)
    assert await store.sessions.issue(third, renews=first.jti)
    assert await holds(store, third, clock) and not await holds(store, second, clock)
    assert await store.sessions.is_revoked(ACME, second.jti)
    # That does not make its time longer.
    clock.advance(RENEWAL_GRACE / 2 + 1)
    assert not await holds(store, first, clock)
    assert not await store.sessions.issue(claims(clock), renews=first.jti)


async def test_only_the_workers_own_session_can_be_renewed(store: Store, clock: ManualClock) -> None:
    mine, theirs = claims(clock), claims(clock, "worker-2")
    await store.sessions.issue(mine)
    await store.sessions.issue(theirs)
    assert not await store.sessions.issue(claims(clock), renews=theirs.jti)
    assert not await store.sessions.issue(claims(clock, "worker-3"), renews=mine.jti)
    assert await holds(store, mine, clock) and await holds(store, theirs, clock)


async def test_revoking_ends_the_session_and_the_one_it_renewed(store: Store, clock: ManualClock) -> None:
    first, second = claims(clock), claims(clock)
    await store.sessions.issue(first)
    await store.sessions.issue(second, renews=first.jti)
    assert await store.sessions.revoke(WORKER)
    assert await store.sessions.get(WORKER) is None
    assert await store.sessions.is_revoked(ACME, first.jti) and await store.sessions.is_revoked(ACME, second.jti)
    assert not await store.sessions.issue(claims(clock), renews=second.jti)
    assert not await store.sessions.revoke(WORKER)


async def test_many_are_read_in_their_order(store: Store, clock: ManualClock) -> None:
    made = [claims(clock, f"worker-{number}") for number in range(3)]
    for each in made:
        await store.sessions.issue(each)
    asked = [WorkerId(name) for name in ("worker-2", "nobody", "worker-0")]
    found = await store.sessions.get_many(asked)
    assert [session.jti if session else None for session in found] == [made[2].jti, None, made[0].jti]
