import asyncio
import time

from cordum.runtime.clock import Clock, ManualClock, SystemClock, unix_micros


def test_the_system_clock_tells_the_machines_time() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.now() - time.time()) < 1
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_a_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(start=100.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)
    assert unix_micros(clock) == 102_500_000


async def test_sleepers_of_a_manual_clock_wake_in_order_as_their_moment_passes() -> None:
    clock, woken = ManualClock(), list[str]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in (("late", 3), ("soon", 1), ("now", 0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == ["now"]
    assert clock.sleepers == 2
    clock.advance(1)
    await tasks[1]
    assert woken == ["now", "soon"]
    clock.advance(5)
    await asyncio.gather(*tasks)
    assert woken == ["now", "soon", "late"]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == 0
    clock.advance(2)


async def test_the_system_clock_sleeps() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
