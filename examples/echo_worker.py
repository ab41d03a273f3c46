"""A worker of ten lines: answers every job.default with its own prompt. Start it where `cordumctl up` runs."""

import asyncio

from cap.runtime import Agent, Context
from dotenv import load_dotenv

load_dotenv(".cordum/env")  # NATS_URL and REDIS_URL of the local stack; set ones win
agent = Agent(worker_id="echo-1", pool="default", max_parallel=4)


@agent.job("job.default")
async def echo(ctx: Context, job: dict[str, object]) -> dict[str, object]:
    return {"echo": job["prompt"]}


asyncio.run(agent.run())
