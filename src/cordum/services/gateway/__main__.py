"""`cordum-api-gateway`: reads the settings, then runs until it is told to stop."""

import asyncio
import functools
import sys

from cordum.runtime import lifecycle, logging
from cordum.runtime.clock import SystemClock
from cordum.runtime.settings import GatewaySettings, load_or_exit
from cordum.runtime.settings.loading import EXIT_BAD_SETTINGS
from cordum.services.gateway.app import SERVICE
from cordum.services.gateway.app import main as serve
from cordum.services.gateway.keysource import KeySource, KeySourceError


def main() -> None:
    """Runs the gateway; exits with 2 when a setting or the API keys cannot be used."""
    settings = load_or_exit(GatewaySettings)
    logging.setup(SERVICE, settings)
    try:
        keys = asyncio.run(KeySource.open(settings, SystemClock()))
    except KeySourceError as error:
        sys.stderr.write(f"{SERVICE}: {error.message}\n")
        sys.exit(EXIT_BAD_SETTINGS)
    lifecycle.run(SERVICE, settings, functools.partial(serve, settings=settings, keys=keys))


if __name__ == "__main__":
    main()
