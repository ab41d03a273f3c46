"""`cordum-safety-kernel`."""

import os
import sys

from cordum.core.errors import CordumError
from cordum.rpc import tls
from cordum.runtime import lifecycle, logging
from cordum.runtime.settings import NatsSettings, RedisSettings, SafetyKernelSettings, load_or_exit

NAME = "cordum-safety-kernel"
EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 1
REDIS_VARIABLES = ("REDIS_URL", "REDIS_CLUSTER_ADDRESSES", "REDIS_SENTINEL_ADDRESSES")


def main() -> None:
    """Runs the safety kernel; exits with 2 and one line when its settings or its policy cannot be used, with 1 when
    where the policy is kept does not answer."""
    settings = load_or_exit(SafetyKernelSettings)
    logging.setup(NAME, settings)
    try:
        tls.set_floor(settings.tls_minimum)
        # Only now, for it loads gRPC, which reads its environment then.
        from cordum.services.safety_kernel.app import Kernel

        kernel = Kernel(settings, _bus_settings(), _store_settings())
        kernel.load()
    except CordumError as error:
        sys.stderr.write(f"{NAME}: {error.message}\n")
        sys.exit(EXIT_UNAVAILABLE if error.code == "policy_source_unavailable" else EXIT_REFUSED)
    lifecycle.run(NAME, settings, kernel.serve)


def _bus_settings() -> NatsSettings | None:
    """Where the bus is, if anybody said so: the kernel is the one process that runs without."""
    return load_or_exit(NatsSettings) if os.environ.get("NATS_URL", "").strip() else None


def _store_settings() -> RedisSettings | None:
    """Where the bundles are, if anybody said so."""
    named = any(os.environ.get(name, "").strip() for name in REDIS_VARIABLES)
    return load_or_exit(RedisSettings) if named else None


if __name__ == "__main__":
    main()
