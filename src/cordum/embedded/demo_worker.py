"""The demo's worker: an ordinary CAP agent in a process of its own, as anybody would write it.

It knows nothing of Cordum but the addresses in NATS_URL and REDIS_URL.
"""

import asyncio
import contextlib
import signal
from typing import Any

from cap.runtime import Agent, Context

WORKER_ID = "demo-worker"
HEARTBEAT_SECONDS = 0.25

agent = Agent(worker_id=WORKER_ID, pool="default", max_parallel=4, heartbeat_interval=HEARTBEAT_SECONDS)


@agent.job("job.demo.greet")
async def greet(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    return {"greeting": f"Hello, {job['prompt']}!", "worker": WORKER_ID}


@agent.job("job.demo.transfer")
async def transfer(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    return {"paid": job["context"]["amount"], "to": job["context"]["to"], "worker": WORKER_ID}


@agent.job("job.demo.delete")
async def delete(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    # Policy denies the demo's deletion, so this must never run.
    return {"deleted": job["prompt"], "worker": WORKER_ID}


async def main() -> None:
    running = asyncio.create_task(agent.run())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(main())
