"""A plain job costs at most five round trips to Redis, counted on the wire between the services and Redis.

Between each service and Redis stands a relay that notes what was asked in one go: everything a connection sends until
Redis answers it is one round trip. Those that name the job are the job's; the others are what the services do anyway
(leases, looks for parked jobs, health).
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.acceptance.conftest import Say
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Rig, comes_true, rig
from tests.acceptance.traffic import Marks, close_books

from cordum.embedded.datadir import DataDir
from cordum.embedded.ports import free_port
from cordum.embedded.servers import redis_url

BUDGET = 5


async def test_a_plain_job_takes_at_most_five_round_trips(tmp_path: Path, say: Say) -> None:
    async with AsyncExitStack() as open_now:
        relays = {name: await open_now.enter_async_context(Relay().listening()) for name in ("gateway", "scheduler")}
        made = await open_now.enter_async_context(relayed(tmp_path / "stack", relays))
        marks = await Marks.set(made)
        # The first job pays for what is then known: scripts, topics.
        first = await made.submit("warm-up")
        assert (await made.job(first, wait=10))["state"] == "SUCCEEDED"
        for relay in relays.values():
            relay.trips.clear()

        job_id = await made.submit("counted")
        # Looked at past the relays, so that looking costs the services nothing.
        await comes_true(lambda: succeeded(made, job_id), "the job has succeeded")
        # One more job through the same connections: whatever the first one still owed has been sent before it ends.
        second = await made.submit("after it")
        await comes_true(lambda: succeeded(made, second), "the next job has succeeded")

        own = {name: [trip for trip in relay.trips if job_id.encode() in trip] for name, relay in relays.items()}
        others = sum(len(relay.trips) for relay in relays.values()) - sum(map(len, own.values()))
        total = sum(map(len, own.values()))
        books = await close_books(made, marks)
        counts = ", ".join(f"{name} {len(trips)}" for name, trips in own.items())
        say(books.line("round trips", [job_id], f"{total} round trips ({counts}), {others} of others meanwhile"))
        assert own["gateway"] and own["scheduler"], "the relays see the traffic"
        assert total <= BUDGET, [trip[:200] for trips in own.values() for trip in trips]


async def succeeded(made: Rig, job_id: str) -> bool:
    return bool(await made.redis.hget(f"job:meta:{job_id}", "state") == "SUCCEEDED")


@asynccontextmanager
async def relayed(directory: Path, relays: dict[str, Relay]) -> AsyncIterator[Rig]:
    """A stack whose gateway and scheduler reach Redis through their relays; the worker goes there directly."""
    port, password = free_port(), DataDir(directory).prepare().redis_password
    for relay in relays.values():
        relay.target = port
    through = {name: {"REDIS_URL": redis_url(relay.port, password)} for name, relay in relays.items()}
    async with rig(directory, workers=1, fixed_ports={"redis": port}, service_env=through) as made:
        yield made
