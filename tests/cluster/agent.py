"""The worker of these tests: an agent of the published SDK over TLS, as its documentation has one set up.

The SDK's own defaults know one server each, so what is more is given to it through its two public parameters: a
`store` that knows Sentinels and clusters (redis-py's clients), and a `connect_fn` with certificates and several
servers.
It tells what it runs in lines `ran <job id> <attempt>` on standard output.
"""

import asyncio
import contextlib
import os
import signal
import ssl
from typing import Any

import redis.asyncio as redis
from cap.runtime import Agent, Context
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

import nats

ENV = os.environ
WORKER_ID = ENV["WORKER_ID"]
PATIENT = Retry(ConstantBackoff(0.25), 60)
"""A failover takes some seconds; what is asked meanwhile is asked again."""


def files(prefix: str) -> tuple[str, str, str]:
    return ENV[f"{prefix}_TLS_CA"], ENV.get(f"{prefix}_TLS_CERT", ""), ENV.get(f"{prefix}_TLS_KEY", "")


def addresses(variable: str) -> list[tuple[str, int]]:
    pairs = [entry.rpartition(":") for entry in ENV.get(variable, "").split(",") if entry]
    return [(host, int(port)) for host, _, port in pairs]


class Blobs:
    """Contexts and results, in whatever topology the environment names."""

    def __init__(self) -> None:
        ca, cert, key = files("REDIS")
        tls: dict[str, Any] = {
            "ssl": True,
            "ssl_ca_certs": ca,
            "ssl_certfile": cert or None,
            "ssl_keyfile": key or None,
        }
        password = redis.connection.parse_url(ENV["REDIS_URL"])["password"]
        self._client: Any
        if seeds := addresses("REDIS_CLUSTER_ADDRESSES"):
            nodes = [ClusterNode(host, port) for host, port in seeds]
            # A node that hangs must not be waited for: it may be a primary no more when it comes back.
            self._client = redis.RedisCluster(
                startup_nodes=nodes, password=password, retry=PATIENT, socket_timeout=2, **tls
            )
        elif watchers := addresses("REDIS_SENTINEL_ADDRESSES"):
            access: dict[str, Any] = {"password": ENV["REDIS_SENTINEL_PASSWORD"], "socket_timeout": 1, **tls}
            sentinel: Any = redis.Sentinel(watchers, sentinel_kwargs=access)  # type: ignore[no-untyped-call]
            self._client = sentinel.master_for(
                ENV["REDIS_SENTINEL_MASTER"], password=password, retry=PATIENT, socket_timeout=2, **tls
            )
        else:
            self._client = redis.from_url(
                ENV["REDIS_URL"], retry=PATIENT, **{name: value for name, value in tls.items() if name != "ssl"}
            )

    async def get(self, key: str) -> bytes | None:
        found: bytes | None = await self._client.get(key)
        return found

    async def set(self, key: str, data: bytes) -> None:
        await self._client.set(key, data)

    async def close(self) -> None:
        await self._client.aclose()


async def connect(servers: str, **options: Any) -> Any:
    ca, cert, key = files("NATS")
    context = ssl.create_default_context(cafile=ca)
    if cert:
        context.load_cert_chain(cert, key)
    return await nats.connect(
        servers.split(","),
        tls=context,
        user=ENV["NATS_USERNAME"],
        password=ENV["NATS_PASSWORD"],
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        ping_interval=2,
        **options,
    )


agent = Agent(
    worker_id=WORKER_ID,
    pool="default",
    max_parallel=64,
    heartbeat_interval=0.5,
    store=Blobs(),
    connect_fn=connect,
    io_timeout=30,
)


@agent.job("job.cluster.echo")
async def echo(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    os.write(1, f"ran {ctx.job_id} {ctx.job.dispatch.attempt}\n".encode())
    await asyncio.sleep(float(ENV.get("WORK_SECONDS", "0")))
    return {"echo": job["prompt"], "worker": WORKER_ID}


async def main() -> None:
    running = asyncio.create_task(agent.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(main())
