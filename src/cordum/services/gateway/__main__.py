"""`cordum-api-gateway`: reads the settings, then runs until it is told to stop."""

import asyncio
import functools
import sys

from cordum.core.errors import CordumError
from cordum.rpc import tls
from cordum.runtime import lifecycle, logging
from cordum.runtime.clock import SystemClock
from cordum.runtime.settings import GatewaySettings, load_or_exit
from cordum.runtime.settings.loading import EXIT_BAD_SETTINGS
from cordum.services.gateway.keysource import KeySource

NAME = "cordum-api-gateway"


def main() -> None:
    """Runs the gateway; exits with 2 and one line when a setting or the API keys cannot be used."""
    settings = load_or_exit(GatewaySettings)
    logging.setup(NAME, settings)
    try:
        keys = asyncio.run(KeySource.open(settings, SystemClock()))
        tls.set_floor(settings.tls_minimum)
    except CordumError as error:
        sys.stderr.write(f"{NAME}: {error.message}\n")
        sys.exit(EXIT_BAD_SETTINGS)
    # Only now, for it loads gRPC, which reads its environment then.
    from cordum.services.gateway.app import main as serve

    lifecycle.run(NAME, settings, functools.partial(serve, settings=settings, keys=keys))


if __name__ == "__main__":
    main()
