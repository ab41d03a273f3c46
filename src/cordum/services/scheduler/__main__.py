"""`cordum-scheduler`: reads settings and files, then runs until it is told to stop."""

import functools
import sys

from cordum.core.routing.errors import RoutingConfigError
from cordum.runtime import lifecycle
from cordum.runtime.session_keys import SessionKeyError, read_handshake_keys
from cordum.runtime.settings import SchedulerSettings, load_or_exit
from cordum.runtime.settings.loading import EXIT_BAD_SETTINGS
from cordum.services.scheduler.app import SERVICE
from cordum.services.scheduler.app import main as serve
from cordum.services.scheduler.config_files import read_config_files


def main() -> None:
    """Runs the scheduler; exits with 2 when a setting or a configuration file cannot be used."""
    settings = load_or_exit(SchedulerSettings)
    try:
        files = read_config_files(settings.pool_config_path, settings.timeout_config_path)
        keys = read_handshake_keys(settings)
    except (RoutingConfigError, SessionKeyError) as error:
        sys.stderr.write(f"{SERVICE}: {error.message}\n")
        sys.exit(EXIT_BAD_SETTINGS)
    lifecycle.run(SERVICE, settings, functools.partial(serve, settings=settings, files=files, keys=keys))


if __name__ == "__main__":
    main()
