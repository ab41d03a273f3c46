"""`cordum-safety-kernel`."""

import sys

from cordum.core.errors import CordumError
from cordum.runtime import lifecycle, logging
from cordum.runtime.settings import SafetyKernelSettings, load_or_exit
from cordum.services.safety_kernel.app import NAME, Kernel

EXIT_REFUSED = 2


def main() -> None:
    """Runs the safety kernel; exits with 2 and one line when its settings or its policy cannot be used."""
    settings = load_or_exit(SafetyKernelSettings)
    logging.setup(NAME, settings)
    try:
        kernel = Kernel(settings)
        kernel.load()
    except CordumError as error:
        sys.stderr.write(f"{NAME}: {error.message}\n")
        sys.exit(EXIT_REFUSED)
    lifecycle.run(NAME, settings, kernel.serve)


if __name__ == "__main__":
    main()
