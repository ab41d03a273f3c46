"""What one finished job takes of Redis' memory, as Redis itself counts it."""

from redis.asyncio import Redis

from bench import goals
from bench.lab import BenchError, Effort, Lab
from bench.rows.row import Row
from bench.stats import Run

_JOBS = 50
_KEYS = {
    "record": "job:meta:{}",
    "request": "job:req:{}",
    "events": "job:events:{}",
    "decisions": "job:decisions:{}",
    "state": "job:state:{}",
    "input": "ctx:{}",
    "result": "res:{}",
    "result_pointer": "job:result_ptr:{}",
}


async def record_bytes(lab: Lab, _effort: Effort) -> Run:
    """`MEMORY USAGE` of every key that belongs to a job alone, on average; entries in indexes come on top."""
    job_ids = await lab.job_ids(_JOBS)
    redis = Redis.from_url(lab.addresses.redis)
    try:
        sizes = dict.fromkeys(_KEYS, 0.0)
        async with redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                for key in _KEYS.values():
                    pipeline.memory_usage(key.format(job_id), samples=0)
            answers = await pipeline.execute()
    finally:
        await redis.aclose()
    for at, size in enumerate(answers):
        sizes[tuple(_KEYS)[at % len(_KEYS)]] += (size or 0) / len(job_ids)
    if not sizes["record"]:
        raise BenchError("the store has no record of the jobs that were just run")
    return Run(value=sum(sizes.values()), extra={f"{name}_bytes": size for name, size in sizes.items()})


ROWS = (
    Row(
        goals.RECORD_BYTES,
        record_bytes,
        needs=("http", "nats", "redis"),
        warm=False,
        note="MEMORY USAGE of a finished job's own keys; the guide's 100 B are the bare state",
    ),
)
