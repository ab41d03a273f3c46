"""The worker of these tests: an ordinary CAP agent of the published SDK, in a process of its own.

It tells what it runs in lines `ran <job id> <attempt>` on standard output.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from cap.runtime import Agent, Context

WORKER_ID = os.environ["WORKER_ID"]

agent = Agent(
    worker_id=WORKER_ID,
    pool=os.environ.get("WORKER_POOL", "default"),
    max_parallel=int(os.environ.get("WORKER_PARALLEL", "32")),
    heartbeat_interval=0.25,
)


def tell(ctx: Context) -> None:
    os.write(1, f"ran {ctx.job_id} {ctx.job.dispatch.attempt}\n".encode())


@agent.job("job.acc.echo")
async def echo(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    tell(ctx)
    return {"echo": job["prompt"], "worker": WORKER_ID}


@agent.job("job.acc.hang")
async def hang(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    """Never ends at the first try (or at any, when the prompt says so); ends at once at the second."""
    tell(ctx)
    if ctx.job.dispatch.attempt == 1 or job["prompt"] == "always":
        await asyncio.Event().wait()
    return {"echo": job["prompt"], "worker": WORKER_ID}


@agent.job("job.acc.until")
async def until(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    """Works until there is a file of this name."""
    tell(ctx)
    while not await asyncio.to_thread(Path(job["prompt"]).exists):  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)
    return {"worker": WORKER_ID}


async def main() -> None:
    running = asyncio.create_task(agent.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(main())
