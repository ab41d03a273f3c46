import asyncio

import pytest

from cordum.runtime.clock import ManualClock
from cordum.runtime.health import Health


class Dependency:
    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    async def check(self) -> None:
        self.asked += 1
        if self.error:
            raise self.error


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def redis() -> Dependency:
    return Dependency()


@pytest.fixture
def health(clock: ManualClock, redis: Dependency) -> Health:
    health = Health(clock)
    health.register("redis", redis.check)
    health.set_started()
    return health


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_process_is_ready_when_every_check_passes(
    health: Health, redis: Dependency, clock: ManualClock
) -> None:
    nats = Dependency()
    health.register("nats", nats.check)
    assert await health.readiness() == (True, {"redis": "ok", "nats": "ok"})
    nats.error = ConnectionError("no route to nats://u:hush@nats")
    clock.advance(2)
    ok, checks = await health.readiness()
    assert not ok
    assert checks["redis"] == "ok"
    assert checks["nats"] == "ConnectionError: no route to nats://[redacted]@nats"


async def test_a_result_is_given_out_for_up_to_a_second(health: Health, redis: Dependency, clock: ManualClock) -> None:
    await health.readiness()
    await health.readiness()
    assert redis.asked == 1
    clock.advance(0.4)
    await health.readiness()
    await settled()
    assert redis.asked == 1


async def test_a_result_is_renewed_in_the_background_before_it_is_old(
    health: Health, redis: Dependency, clock: ManualClock
) -> None:
    assert (await health.readiness()).ok
    redis.error = ConnectionError("gone")
    clock.advance(0.7)
    assert (await health.readiness()).ok, "answered at once, from what is known"
    await settled()
    assert not (await health.readiness()).ok
    assert redis.asked == 2


async def test_an_old_result_is_never_given_out(health: Health, redis: Dependency, clock: ManualClock) -> None:
    assert (await health.readiness()).ok
    redis.error = ConnectionError("gone")
    clock.advance(1.1)
    assert not (await health.readiness()).ok


async def test_many_askers_share_one_check(health: Health, redis: Dependency) -> None:
    verdicts = await asyncio.gather(*(health.readiness() for _ in range(50)))
    assert all(verdict.ok for verdict in verdicts)
    assert redis.asked == 1


async def test_a_check_that_hangs_counts_as_failed_after_its_budget(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordum.runtime.health.BUDGET", 0.01)

    async def hang() -> None:
        await asyncio.Event().wait()

    health.register("nats", hang)
    ok, checks = await health.readiness()
    assert not ok
    assert checks["nats"] == "no answer within 0.01 s"
    assert checks["redis"] == "ok"


async def test_an_asker_that_goes_away_does_not_spoil_the_check_for_others(health: Health) -> None:
    go = asyncio.Event()

    async def slow() -> None:
        await go.wait()

    health.register("slow", slow)
    impatient = asyncio.create_task(health.readiness())
    patient = asyncio.create_task(health.readiness())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    go.set()
    assert (await patient).ok


@pytest.mark.seed("S241")
async def test_a_draining_process_is_not_ready_but_alive(health: Health) -> None:
    assert (await health.readiness()).ok
    health.draining()
    assert await health.readiness() == (False, {"process": "draining"})
    assert health.liveness().ok
    assert health.startup().ok


async def test_before_it_has_started_a_process_is_alive_and_not_ready(clock: ManualClock) -> None:
    health = Health(clock)
    assert not health.startup().ok
    assert health.liveness().ok
    assert not (await health.readiness()).ok
    health.set_started()
    assert health.startup().ok
    assert (await health.readiness()).ok


async def test_a_crashed_part_makes_the_process_not_alive(health: Health) -> None:
    health.crashed("reconciler: ValueError: x")
    assert health.liveness() == (False, {"process": "reconciler: ValueError: x"})


async def test_closing_ends_a_check_under_way(health: Health) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    health.register("slow", hang)
    asking = asyncio.create_task(health.readiness())
    await settled()
    await health.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking
