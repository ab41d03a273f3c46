"""How a stack is to be started, and what its children inherit from this process."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cordum.embedded.child import Recipe

if TYPE_CHECKING:
    from cordum.embedded.stack import Stack

_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "USER", "VIRTUAL_ENV", "SSL_CERT_FILE")
_SERVER_CHOICE = ("CORDUM_NATS_SERVER", "CORDUM_REDIS_SERVER")
_DECIDED_HERE = (
    "NATS_",
    "REDIS_",
    "SAFETY_KERNEL_",
    "GATEWAY_HTTP_TLS_",
    "GRPC_TLS_",
    "CORDUM_API_KEY",
    "CORDUM_API_URL",
    "CORDUM_INSTANCE_ID",
)


class MakeRecipe(Protocol):
    """Makes the recipe of a further child once the addresses are known."""

    def __call__(self, stack: "Stack", /) -> Recipe: ...


def clean_environment() -> dict[str, str]:
    """What programs need from this process's environment, without any setting that could change how they behave."""
    return {name: os.environ[name] for name in (*_INHERITED, *_SERVER_CHOICE) if name in os.environ}


def operator_environment() -> dict[str, str]:
    """This process's environment, without what the stack decides itself: addresses, passwords, keys, certificates."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_DECIDED_HERE)}


@dataclass(frozen=True)
class Options:
    """How a stack is to be started.

    Attributes:
        env: the environment every child starts from; the stack's own addresses go on top.
        service_env: further settings by service or part (`gateway`, `scheduler`, `scheduler-2`, `kernel`), which win.
        replicas: how many of a service; one each unless said, 0 leaves it out.
        fixed_ports: ports that must be taken, such as `{"gateway.http": 9000}`; a start fails when they are not free.
        default_ports: whether the gateway takes 8081, 50051 and 9092 when these are free. Tests and demos stay away.
        extra: further children, started once the servers are ready (workers, say).
        scratch: the data directory is temporary: delete it at the end, also when this process is killed.
    """

    env: Mapping[str, str] = field(default_factory=clean_environment)
    service_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    fixed_ports: Mapping[str, int] = field(default_factory=dict)
    default_ports: bool = True
    fresh: bool = False
    extra: Sequence[MakeRecipe] = ()
    scratch: bool = False
