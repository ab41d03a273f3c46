"""A worker in a process of its own: the SDK's Agent with one handler that takes its time."""

import asyncio
import os
import sys
from typing import Any

from cap.runtime import Agent


async def main(topic: str, worker_id: str, pool: str, max_parallel: str, seconds: str) -> None:
    agent = Agent(
        nats_url=os.environ["NATS_URL"],
        redis_url=os.environ["REDIS_URL"],
        worker_id=worker_id,
        pool=pool,
        max_parallel=int(max_parallel),
        heartbeat_interval=0.3,
    )

    @agent.job(topic)
    async def handle(_context: Any, data: Any) -> Any:
        await asyncio.sleep(float(seconds))
        return {"by": worker_id}

    await agent.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
