"""The services of the stack: which module each is, where it listens, which settings it needs to find the others."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cordum.embedded import servers
from cordum.embedded.datadir import Secrets
from cordum.embedded.ports import LOOPBACK

KERNEL, SCHEDULER, GATEWAY = "kernel", "scheduler", "gateway"


@dataclass(frozen=True)
class Listener:
    """One address a service listens on."""

    purpose: str
    variable: str
    """Environment variable that sets it."""
    preferred: int = 0
    """The port taken when it is free; 0 when any will do."""


@dataclass(frozen=True)
class Service:
    """One kind of process. Its readiness is asked at `/readyz` of the listener `ready_at`."""

    name: str
    module: str
    listeners: tuple[Listener, ...]
    ready_at: str

    def command(self) -> list[str]:
        # -P: the working directory is the data directory and must not be searched for modules.
        return [sys.executable, "-P", "-m", self.module]

    def addresses(self, part: str, ports: Mapping[str, int]) -> dict[str, str]:
        return {item.variable: f"{LOOPBACK}:{ports[f'{part}.{item.purpose}']}" for item in self.listeners}


SERVICES = {
    service.name: service
    for service in (
        Service(
            KERNEL,
            "cordum.services.safety_kernel",
            (Listener("grpc", "SAFETY_KERNEL_ADDR"), Listener("admin", "SAFETY_KERNEL_ADMIN_ADDR")),
            ready_at="admin",
        ),
        Service(
            SCHEDULER,
            "cordum.services.scheduler",
            (Listener("metrics", "SCHEDULER_METRICS_ADDR"),),
            ready_at="metrics",
        ),
        Service(
            GATEWAY,
            "cordum.services.gateway",
            (
                Listener("http", "GATEWAY_HTTP_ADDR", 8081),
                Listener("grpc", "GATEWAY_GRPC_ADDR", 50051),
                Listener("metrics", "GATEWAY_METRICS_ADDR", 9092),
            ),
            ready_at="http",
        ),
    )
}


def connections(ports: Mapping[str, int], secrets: Secrets) -> dict[str, str]:
    """Where the servers and the kernel are, for every service."""
    return {
        "NATS_URL": servers.nats_url(ports["nats"], secrets.nats_password),
        "REDIS_URL": servers.redis_url(ports["redis"], secrets.redis_password),
        "SAFETY_KERNEL_ADDR": f"{LOOPBACK}:{ports['kernel.grpc']}",
    }


def configuration(config: Path) -> dict[str, str]:
    """The configuration files of the data directory; a variable set from outside goes before."""
    return {
        "SAFETY_POLICY_PATH": str(config / "safety.yaml"),
        "OUTPUT_SCANNERS_PATH": str(config / "output_scanners.yaml"),
        # On one machine a look at a file costs nothing, and whoever edits the policy wants to see it work at once.
        "SAFETY_POLICY_RELOAD_INTERVAL": "1s",
        "POOL_CONFIG_PATH": str(config / "pools.yaml"),
        "TIMEOUT_CONFIG_PATH": str(config / "timeouts.yaml"),
    }


def api_keys(secrets: Secrets) -> str:
    """`CORDUM_API_KEYS`: an administrator, and a second person who may approve what the first one submits."""
    return json.dumps(
        [
            {"key": secrets.admin_key, "tenant": "default", "role": "admin", "principal_id": "admin"},
            {"key": secrets.approver_key, "tenant": "default", "role": "operator", "principal_id": "approver"},
        ]
    )
