"""A stack of the bench's own: the product's embedded stack in a temporary directory, its limits and files changed."""

import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from bench.lab import Addresses, BenchError, Workload
from cordum.core.errors import CordumError
from cordum.embedded.datadir import DataDir
from cordum.embedded.stack import Options, Stack, clean_environment

_CONFIG = Path(__file__).parent / "config"
_NO_LIMIT = "10000000"
_LIMITS = ("API_RATE_LIMIT_RPS", "API_RATE_LIMIT_BURST", "API_PUBLIC_RATE_LIMIT_RPS", "API_PUBLIC_RATE_LIMIT_BURST")


def options(
    workload: Workload,
    policy: Path | None = None,
    *,
    replicas: Mapping[str, int] | None = None,
    service_env: Mapping[str, Mapping[str, str]] | None = None,
) -> Options:
    """How the bench starts a stack: defaults of the product, rate limits out of the way, its own topics and policy."""
    pools = yaml.safe_load((_CONFIG / "pools.yaml").read_text())
    if pools["topics"].get(workload.topic) != workload.pool or workload.tenant != Workload.tenant:
        raise BenchError("--topic, --pool and --tenant are for a stack that runs already; the bench's own has its own")
    return Options(
        env={
            **clean_environment(),
            **dict.fromkeys(_LIMITS, _NO_LIMIT),
            "SAFETY_POLICY_PATH": str(policy or _CONFIG / "safety.yaml"),
            "POOL_CONFIG_PATH": str(_CONFIG / "pools.yaml"),
            "TIMEOUT_CONFIG_PATH": str(_CONFIG / "timeouts.yaml"),
        },
        default_ports=False,
        scratch=True,
        replicas=replicas or {},
        service_env=service_env or {},
    )


@asynccontextmanager
async def stack(
    workload: Workload,
    policy: Path | None = None,
    *,
    replicas: Mapping[str, int] | None = None,
    service_env: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[Addresses]:
    """A running stack, gone again when the block ends. Raises BenchError with the last words of what did not start."""
    chosen = options(workload, policy, replicas=replicas, service_env=service_env)
    running = Stack(DataDir(Path(tempfile.mkdtemp(prefix="cordum-bench-"))), chosen)
    started = time.perf_counter()
    try:
        await running.start()
    except CordumError as error:
        raise BenchError(f"the stack does not start: {error}") from error
    try:
        yield Addresses(
            http=running.api_url,
            kernel=running.kernel_address,
            nats=running.nats_url,
            redis=running.redis_url,
            api_key=running.secrets.admin_key,
            pids=_pids(running),
            started_in=time.perf_counter() - started,
        )
    finally:
        await running.stop()


def _pids(running: Stack) -> dict[str, list[int]]:
    """By service; replicas are counted together."""
    found: dict[str, list[int]] = {}
    for part, pid in running.pids.items():
        base, _, number = part.rpartition("-")
        found.setdefault(base if number.isdigit() else part, []).append(pid)
    if running.guardian_pid:
        found["guardian"] = [running.guardian_pid]
    return found
