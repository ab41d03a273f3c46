"""`cordum-safety-kernel`."""

import os
import sys

from cordum.core.errors import CordumError
from cordum.rpc import tls
from cordum.runtime import lifecycle, logging
from cordum.runtime.settings import NatsSettings, SafetyKernelSettings, load_or_exit

NAME = "cordum-safety-kernel"
EXIT_REFUSED = 2


def main() -> None:
    """Runs the safety kernel; exits with 2 and one line when its settings or its policy cannot be used."""
    settings = load_or_exit(SafetyKernelSettings)
    logging.setup(NAME, settings)
    try:
        tls.set_floor(settings.tls_minimum)
        # Only now, for it loads gRPC, which reads its environment then.
        from cordum.services.safety_kernel.app import Kernel

        kernel = Kernel(settings, _bus_settings())
        kernel.load()
    except CordumError as error:
        sys.stderr.write(f"{NAME}: {error.message}\n")
        sys.exit(EXIT_REFUSED)
    lifecycle.run(NAME, settings, kernel.serve)


def _bus_settings() -> NatsSettings | None:
    """Where the bus is, if anybody said so: the kernel is the one process that runs without."""
    return load_or_exit(NatsSettings) if os.environ.get("NATS_URL", "").strip() else None


if __name__ == "__main__":
    main()
